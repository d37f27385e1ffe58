"""Embeddings of a whole split and of class texts, computed on the mesh in fixed shapes."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from scenarioclip_jax.data.batch import LEVELS, Batch
from scenarioclip_jax.data.device.views import ViewSettings, views
from scenarioclip_jax.data.packing.fill import Labels
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.evaluation.embed.share import SharedBatches, exchange_rows, exchange_texts
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.params import Params
from scenarioclip_jax.models.scenario_clip import Inputs
from scenarioclip_jax.parallel.mesh import batch_sharding, batch_ways, put_batch, replicated

TEXT_BATCH = 256  # least number of texts to embed at once


class Gallery(NamedTuple):
    """The images of one level of a split: N rows, in the split's order."""

    embeddings: np.ndarray  # float32 [N, D], not normalized
    texts: list[str]  # N: each image's own text
    photo_ids: list[str]  # N


class Stopped(Exception):
    """The caller asked to stop between two batches."""


class Embedder:
    """Runs a model over evaluation batches and texts.

    Programs are compiled once per shape; student, teacher and later checkpoints of the same model share them.

    Args:
      graph: Structure of the model, from `models.params.split`.
      lengths: Tokens of a text, by level.
      should_stop: Function that is called between batches; returning True raises Stopped.
    """

    def __init__(
        self,
        graph: nnx.GraphDef,
        mesh: Mesh,
        tokenizer: Tokenizer,
        view_settings: ViewSettings,
        lengths: dict[str, int],
        should_stop: Callable[[], bool] = lambda: False,
    ):
        self._mesh, self._tokenizer, self._lengths = mesh, tokenizer, lengths
        self._should_stop = should_stop
        self._text_batch = batch_ways(mesh) * math.ceil(TEXT_BATCH / batch_ways(mesh))

        # The towers' constraints need the mesh; without them, on FSDP axes the compiler would gather
        # activations rather than parameters.
        def encode_images(params: Params, batch: Batch) -> dict[str, jax.Array]:
            by_level = views(batch, view_settings, train=False)
            flat = {level: x.reshape(-1, *x.shape[2:]) for level, x in by_level.items()}
            with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
                model = parameters.merge(graph, params)
                return model(Inputs(flat, {}), groups=len(batch.seed)).image

        def encode_text(params: Params, ids: jax.Array, level: str) -> jax.Array:
            with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
                return parameters.merge(graph, params).encode_text(ids, level)

        # Results are replicated, so that every process can score the whole split without asking the others.
        self._encode_images = jax.jit(encode_images, out_shardings=replicated(mesh))
        self._encode_text = jax.jit(encode_text, static_argnums=2, out_shardings=replicated(mesh))

    def images(
        self, params: Params, batches: Iterable[tuple[Batch, dict[str, Labels]]]
    ) -> dict[str, Gallery]:
        """Embeds every scene, object and relation once, by level.

        Args:
          batches: Whole batches, the same in every process; or `SharedBatches`.
        """
        share = batches.share if isinstance(batches, SharedBatches) else None
        found = {level: ([], [], []) for level in LEVELS}
        for batch, labels in batches:
            if self._should_stop():
                raise Stopped
            on_devices = (
                self._put(batch) if share is None else put_batch(self._mesh, batch, share.groups)
            )
            encoded = jax.device_get(self._encode_images(params, on_devices))
            if share is not None:
                encoded = {
                    level: x.reshape(share.groups, -1, x.shape[-1])[share.local].reshape(
                        -1, x.shape[-1]
                    )
                    for level, x in encoded.items()
                }
            for level, (embeddings, texts, photo_ids) in found.items():
                keep = batch.levels[level].mask
                embeddings.append(np.asarray(encoded[level], np.float32)[keep.reshape(-1)])
                texts += labels[level].text[keep].tolist()
                photo_ids += labels[level].scene_id[keep].tolist()
        galleries = {
            level: Gallery(np.concatenate(embeddings) if embeddings else np.zeros((0, 1)), *rest)
            for level, (embeddings, *rest) in found.items()
        }
        if share is None:
            return galleries
        return {
            level: Gallery(
                exchange_rows(share, gallery.embeddings),
                exchange_texts(share, gallery.texts),
                exchange_texts(share, gallery.photo_ids),
            )
            for level, gallery in galleries.items()
        }

    def texts(self, params: Params, texts: Sequence[str], level: str) -> np.ndarray:
        """Embeds texts at a level: float32 [len(texts), D], not normalized."""
        parts = []
        size = self._text_batch
        for start in range(0, len(texts), size):
            if self._should_stop():
                raise Stopped
            chunk = list(texts[start : start + size])
            padded = chunk + [""] * (size - len(chunk))
            ids, _ = self._tokenizer.encode(padded, self._lengths[level])
            encoded = jax.device_get(self._encode_text(params, ids, level))
            parts.append(np.asarray(encoded, np.float32)[: len(chunk)])
        return np.concatenate(parts)

    def _put(self, batch: Batch) -> Batch:
        # Every process has the whole batch, so each can give its own devices their part.
        sharding = batch_sharding(self._mesh)
        return jax.tree.map(
            lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index]), batch
        )
