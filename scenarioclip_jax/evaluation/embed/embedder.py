"""Embeddings of a whole split and of class texts, computed on the mesh in fixed shapes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from scenarioclip_jax.data.batch import LEVELS, Batch
from scenarioclip_jax.data.device.box_views import in_center
from scenarioclip_jax.data.device.views import ViewSettings, views
from scenarioclip_jax.data.packing.fill import Labels
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.evaluation.embed.share import SharedBatches, exchange_rows, exchange_texts
from scenarioclip_jax.models.params import Params
from scenarioclip_jax.models.runner import Runner
from scenarioclip_jax.models.scenario_clip import Inputs, ScenarioCLIP
from scenarioclip_jax.parallel.mesh import put_batch

TEXT_BATCH = 256  # texts to embed at once


class Gallery(NamedTuple):
    """The N images of one level of a split, in the split's order."""

    embeddings: np.ndarray  # float32 [N, D], not normalized
    texts: list[str]  # N: each image's own text; "" for a scene without an action
    photo_ids: list[str]  # N
    # N: equal for images of the same pixels; None: all are different
    pictures: list[str] | None = None

    def told(self) -> "Gallery":
        """Only the images that have a text: scenes without an action have none."""
        rows = [row for row, text in enumerate(self.texts) if text]
        return self if len(rows) == len(self.texts) else self.take(rows)

    def take(self, rows: list[int]) -> "Gallery":
        """Only the images of some rows."""
        chosen = (values and [values[row] for row in rows] for values in self[1:])
        return Gallery(self.embeddings[rows], *chosen)


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
        self._runner = Runner(graph, mesh, [TEXT_BATCH])

        def encode_batch(model: ScenarioCLIP, batch: Batch) -> Mapping[str, jax.Array]:
            by_level = views(batch, view_settings, train=False)
            flat = {level: x.reshape(-1, *x.shape[2:]) for level, x in by_level.items()}
            boxes = {}
            if model.pools:
                boxes = {level: in_center(batch, level) for level in LEVELS[1:]}
                flat = {"global": flat["global"]}
            return model(Inputs(flat, {}, boxes=boxes), groups=len(batch.seed)).image

        self._encode_batch = self._runner.compiled(encode_batch)

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
                self._runner.put(batch)
                if share is None
                else put_batch(self._mesh, batch, share.groups)
            )
            encoded = jax.device_get(self._encode_batch(params, on_devices))
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

        def take(part: slice) -> np.ndarray:
            if self._should_stop():
                raise Stopped
            return self._tokenizer.encode(list(texts[part]), self._lengths[level])[0]

        return self._runner.texts(params, len(texts), level, take)
