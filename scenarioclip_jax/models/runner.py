"""Runs a model outside of training, on any number of inputs: compiled once a shape, on one device or a mesh."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Float

from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.params import Params
from scenarioclip_jax.models.scenario_clip import ScenarioCLIP
from scenarioclip_jax.parallel.mesh import batch_sharding, batch_ways, replicated


class Runner:
    """Runs the towers of one model structure; whatever parameters it is given share the compiled programs.

    Args:
      graph: Structure of the model, from `models.params.split`.
      mesh: Devices that batches are split over; None for one device. Results are replicated, so that every
        process has all of them.
      sizes: Inputs at once. Fewer are padded up to the smallest size that holds them; each size is compiled.
    """

    def __init__(self, graph: nnx.GraphDef[ScenarioCLIP], mesh: Mesh | None, sizes: Sequence[int]):
        self._graph, self._mesh = graph, mesh
        ways = batch_ways(mesh) if mesh else 1
        self._sizes = sorted({-(-size // ways) * ways for size in sizes})
        self._image = self.compiled(ScenarioCLIP.encode_image, static_argnums=2)
        self._text = self.compiled(ScenarioCLIP.encode_text, static_argnums=2)
        self._boxes = self.compiled(ScenarioCLIP.encode_boxes, static_argnums=3)

    def compiled(self, function: Callable, **arguments) -> Callable:
        """`function(model, ...)` as a jitted function of (params, ...).

        Args:
          arguments: Of `jax.jit`.
        """

        def run(params: Params, *inputs):
            model = parameters.merge(self._graph, params)
            if self._mesh is None:
                return function(model, *inputs)
            # The towers' constraints need the mesh; without them, on FSDP axes the compiler would gather
            # activations rather than parameters.
            with jax.sharding.use_abstract_mesh(self._mesh.abstract_mesh):
                return function(model, *inputs)

        run.__name__ = function.__name__  # profiles and logs of the compiler show it
        out = replicated(self._mesh) if self._mesh else None
        return jax.jit(run, out_shardings=out, **arguments)

    def images(
        self, params: Params, count: int, level: str, take: Callable[[slice], np.ndarray]
    ) -> Float[np.ndarray, "N D"]:
        """Embeds `count` normalized images; `take` returns those of a slice: float [n, P, P, 3]."""
        return self._batches(self._image, params, count, level, take)

    def boxes(
        self,
        params: Params,
        images: Float[np.ndarray, "N P P 3"],
        boxes: Sequence[Float[np.ndarray, "_ E 4"]],
        level: str,
    ) -> list[Float[np.ndarray, "_ D"]]:
        """Embeds the boxes of each of N normalized images; see `ScenarioCLIP.encode_boxes`."""
        counts = [len(each) for each in boxes]
        # Numbers of boxes are rounded up, since each is compiled.
        room = max(8, 1 << (max(counts) - 1).bit_length())
        padded = np.stack(
            [np.pad(each, [(0, room - len(each)), (0, 0), (0, 0)], mode="edge") for each in boxes]
        )

        def encode(params: Params, both: tuple[np.ndarray, np.ndarray], level: str) -> Any:
            return self._boxes(params, *both, level)

        found = self._batches(
            encode, params, len(boxes), level, lambda part: (images[part], padded[part])
        )
        return [each[:count] for each, count in zip(found, counts, strict=True)]

    def texts(
        self, params: Params, count: int, level: str, take: Callable[[slice], np.ndarray]
    ) -> Float[np.ndarray, "N D"]:
        """Embeds `count` texts; `take` returns the token ids of a slice: int [n, L]."""
        return self._batches(self._text, params, count, level, take)

    def _batches(self, encode, params, count: int, level: str, take) -> np.ndarray:
        results, start = [], 0
        while start < count:
            left = count - start
            size = next((size for size in self._sizes if size >= left), self._sizes[-1])
            part = take(slice(start, start + size))
            # Padding with the last row rather than zeros keeps an end-of-text id in every row.
            rows = np.minimum(np.arange(size), left - 1)
            encoded = encode(params, self.put(jax.tree.map(itemgetter(rows), part)), level)
            results.append(np.asarray(jax.device_get(encoded), np.float32)[:left])
            start += size
        return np.concatenate(results)

    def put(self, batch: Any) -> Any:
        """Splits a pytree of host arrays, whose first axis is the batch, over the mesh.

        Every process has the whole batch, and gives its own devices their part.
        """
        if self._mesh is None:
            return jax.device_put(batch)
        sharding = batch_sharding(self._mesh)
        return jax.tree.map(
            lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index]), batch
        )
