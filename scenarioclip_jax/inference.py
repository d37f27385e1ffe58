"""A model in use, from a notebook or a script: images and texts in, embeddings out.

    model = scenarioclip_jax.load("runs/demo")
    image = model.encode_image(["photo.jpg"], "global")
    text = model.encode_text(["a person rides a horse", "two people talk"], "global")
    model.similarity(image, text)  # cosines, [1, 2]
    model.encode_objects("photo.jpg", [[10, 20, 110, 300]])  # boxes in pixels
    model.describe("photo.jpg", [[10, 20, 110, 300], [90, 40, 400, 390]], words="DATA").draw("scene.png")

Levels are `global`, `object` and `relation`.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Float
from numpy.typing import ArrayLike
from PIL.Image import Image

from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec
from scenarioclip_jax.data import photo_boxes, photo_parts
from scenarioclip_jax.data.damage import open_checked
from scenarioclip_jax.data.image_arrays import separate, to_array
from scenarioclip_jax.data.normalization import normalize_pixels
from scenarioclip_jax.data.stored.labels import labels_of
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.data.view import photo_view, view_canvas
from scenarioclip_jax.describe.describe import describe, describe_many
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.runner import Runner
from scenarioclip_jax.models.scenario_clip import (
    LEVELS,
    ScenarioCLIP,
    branch_of,
    head_of,
    levels_of,
    pools,
    sees_visible_only,
)
from scenarioclip_jax.parallel.mesh import replicated

Picture = Any  # what `data.images.open_image` takes: a path, PIL image, array or tensor
LAYOUTS = ("NCHW", "NHWC")
DTYPES = ("float32", "bfloat16")
LARGEST_PIXEL = 10  # normalized ones are from about -2 to 3, others up to 255


class Model:
    """A model that is ready to use. Embeddings are float32 [N, D] on the host and not L2-normalized.

    Everything is compiled once for a few batch sizes; smaller batches are padded.

    Attributes:
      spec: The model's arguments, and how its inputs are prepared.
      tokenizer: The tokenizer for texts.
      image_size: Side P of the images that the towers see, in pixels.
      embed_dim: Size D of the embedding space.
      graph: The model's structure, for `models.params.merge`.
      params: The model's parameters by path, for `models.params.merge`.
      temperatures: Temperatures by level, if the model is calibrated, see `describe.calibrate`.
      mesh: The devices that batches are split over; each holds all parameters. None for one device.
    """

    def __init__(
        self,
        spec: ModelSpec,
        params: dict[str, Any],
        tokenizer: Tokenizer,
        *,
        dtype: str = "float32",
        batch_size: int = 32,
        mesh: Mesh | None = None,
        temperatures: Mapping[str, float] = MappingProxyType({}),
    ):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size is {batch_size!r}; it must be a whole number, at least 1")
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")
        self.spec, self.tokenizer, self.mesh, self._dtype = spec, tokenizer, mesh, dtype
        self.temperatures = dict(temperatures)
        arguments = {**spec.model, "dtype": dtype, "remat": "none"}
        graph, shapes = parameters.abstract(lambda: ScenarioCLIP(**arguments, rngs=nnx.Rngs(0)))
        _check(params, shapes)
        self.graph = graph
        self.params = jax.device_put(
            {path: np.asarray(value, np.float32) for path, value in params.items()},
            replicated(mesh) if mesh else None,
        )
        self.image_size: int = spec.model["vision"]["image_size"]
        self.embed_dim: int = spec.model.get("embed_dim", 512)
        self._eos_id: int = spec.model["text"]["eos_id"]
        self._max_length: int = spec.model["text"]["max_length"]
        self._batch_size = batch_size
        # A single image shouldn't cost a full batch, but each batch size costs a compilation.
        self._runner = Runner(graph, mesh, (1, min(8, batch_size), batch_size))

    # Functions of what any model has: `model.describe(photo, boxes, words=...)`.
    describe = describe
    describe_many = describe_many

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs to rebuild the model; compiled programs aren't included."""
        if self.mesh is not None:
            raise TypeError("a model that is laid over a mesh can't be pickled; load it there")
        params = {path: np.asarray(value) for path, value in self.params.items()}
        arguments = {"dtype": self._dtype, "batch_size": self._batch_size}
        arguments["temperatures"] = self.temperatures
        return {"spec": self.spec, "params": params, "tokenizer": self.tokenizer, **arguments}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def on(self, mesh: Mesh, batch_size: int) -> "Model":
        """Returns the same model with its batches split over all devices of a mesh."""
        arguments = {"dtype": self._dtype, "batch_size": batch_size, "mesh": mesh}
        arguments["temperatures"] = self.temperatures
        return Model(self.spec, self.params, self.tokenizer, **arguments)

    def encode_image(
        self, images: Picture | Sequence[Picture], level: str = "global"
    ) -> Float[np.ndarray, "N D"]:
        """Embeds one or several images: paths, PIL images, arrays or tensors of any framework.

        Arrays are uint8 (or floats from 0 to 1) with the axes [H, W, C], [C, H, W] or [H, W]; several in one
        array have an axis N in front; see `data.images.open_image`. Images are prepared as in evaluation:
        upright, RGB, resized to the model's view, normalized. The caller makes crops and masks for objects and
        relations.

        A file that is damaged but can be decoded causes a `data.damage.DamagedImageWarning`, once.

        Raises:
          ValueError: There is no image, an array isn't an image, or the level is unknown.
          OSError: A file can't be read or decoded.
        """
        pictures = separate(images)
        return self._run(
            self._runner.images, len(pictures), level, lambda part: self._pixels(pictures[part])
        )

    def encode_objects(
        self, photo: Picture, boxes: ArrayLike | Sequence[Sequence[float]]
    ) -> Float[np.ndarray, "N D"]:
        """Embeds objects of one photo, at the level `object`.

        Most models see a photo's center square only; of a box outside of it they see nothing, see
        `share_in_view`.

        Args:
          photo: The photo, as for `encode_image`.
          boxes: Their boxes, [N, 4]: x0, y0, x1, y1 in pixels of the upright photo.

        Raises:
          ValueError: There is no box, or one is empty or lies outside of the photo.
          OSError: The file can't be read or decoded.
        """
        return self._encode_parts(photo, boxes, "object")

    def encode_relations(
        self, photo: Picture, pairs: ArrayLike | Sequence[Sequence[Sequence[float]]]
    ) -> Float[np.ndarray, "N D"]:
        """Embeds relations of one photo, at the level `relation`. The order of a pair's boxes means nothing.

        Args:
          photo: The photo, as for `encode_image`.
          pairs: The boxes of both ends of each, [N, 2, 4]: x0, y0, x1, y1 in pixels of the upright photo.

        Raises:
          ValueError: There is no pair, or a box is empty or lies outside of the photo.
          OSError: The file can't be read or decoded.
        """
        return self._encode_parts(photo, pairs, "relation")

    def _encode_parts(self, photo: Picture, boxes: Any, level: str) -> Float[np.ndarray, "N D"]:
        image = open_checked(photo).picture
        return self.encode_places(image, photo_boxes.check_boxes(boxes, level, image.size), level)

    def share_in_view(
        self, boxes: Float[np.ndarray, "N 4"], size: tuple[int, int]
    ) -> Float[np.ndarray, " N"]:
        """The share of each box, in pixels of a photo of this width and height, that the model sees."""
        return photo_parts.share_in_view(boxes, photo_view(*size, self.image_size, self.spec.fit))

    def cut_texts(self, texts: Sequence[str], level: str = "global") -> list[str]:
        """The texts of which the model doesn't read the end, since they have more tokens than it reads."""
        self._check_level(level)
        length = self.spec.lengths[level]
        _, whole = self.tokenizer.encode_ragged(texts, length)
        return [text for text, tokens in zip(texts, whole, strict=True) if tokens > length]

    def encode_places(
        self, image: Image, places: Float[np.ndarray, "N E 4"], level: str
    ) -> Float[np.ndarray, "N D"]:
        """Embeds parts of an opened RGB photo, E boxes each, which are clipped to it and not checked."""
        return self.encode_places_of([(image, places)], level)[0]

    def encode_places_of(
        self, photos: Sequence[tuple[Image, Float[np.ndarray, "_ E 4"]]], level: str
    ) -> list[Float[np.ndarray, "_ D"]]:
        """The same for parts of several photos, which are computed together."""
        sizes = [image.size for image, _ in photos]
        views = [photo_view(*size, self.image_size, self.spec.fit) for size in sizes]
        canvases = [view_canvas(image, v) for (image, _), v in zip(photos, views, strict=True)]
        if pools(self.spec.model):
            boxes = [
                photo_parts.in_view(places, view) / self.image_size
                for (_, places), view in zip(photos, views, strict=True)
            ]
            return self._runner.boxes(
                self.params, normalize_pixels(np.stack(canvases)), boxes, level
            )
        parts = [(index, box) for index, (_, places) in enumerate(photos) for box in places]
        style = self.spec.region_style

        def take(which: slice) -> np.ndarray:
            # Made a batch at a time: those of many photos would fill the memory.
            shown = [
                photo_parts.show(canvases[index], box, views[index], sizes[index], level, style)
                for index, box in parts[which]
            ]
            return normalize_pixels(np.stack(shown))

        found = self._run(self._runner.images, len(parts), level, take)
        return np.split(found, np.cumsum([len(places) for _, places in photos])[:-1])

    def encode_pixels(
        self, pixels: ArrayLike, level: str = "global", layout: str | None = None
    ) -> Float[np.ndarray, "N D"]:
        """Embeds images that are already prepared: P x P, normalized with CLIP's mean and standard deviation.

        Args:
          pixels: float [N, 3, P, P] or [N, P, P, 3]: an array or tensor of any framework, or a list of them.
          layout: "NCHW" ([N, 3, P, P], as PyTorch's processors return) or "NHWC" ([N, P, P, 3]). None finds the
            axis that has 3 entries.
        """
        pixels = to_array(pixels)
        side = self.image_size
        shapes = {"NCHW": (3, side, side), "NHWC": (side, side, 3)}
        if layout is not None and layout not in LAYOUTS:
            raise ValueError(f"layout is {layout!r}; it must be one of {', '.join(LAYOUTS)}")
        fitting = [name for name in LAYOUTS if pixels.shape[1:] == shapes[name]]
        if not fitting or (layout is not None and layout not in fitting):
            wanted = shapes[layout] if layout else f"{shapes['NCHW']} or {shapes['NHWC']}"
            raise ValueError(f"pixels are {pixels.shape}; expected N x {wanted}")
        if not np.issubdtype(pixels.dtype, np.floating):
            raise ValueError(
                f"pixels are {pixels.dtype}; normalized floats are expected (encode_image takes uint8)"
            )
        if not (np.abs(pixels) <= LARGEST_PIXEL).all():
            raise ValueError(
                f"pixels go beyond {LARGEST_PIXEL} or are NaN, so they aren't normalized (encode_image takes "
                "uint8, or floats from 0 to 1)"
            )
        if (layout or fitting[0]) == "NCHW":
            pixels = pixels.transpose(0, 2, 3, 1)
        return self._run(self._runner.images, len(pixels), level, lambda part: pixels[part])

    def encode_text(
        self, texts: str | Sequence[str], level: str = "global"
    ) -> Float[np.ndarray, "N D"]:
        """Embeds texts, truncated to the level's token length; equal texts are computed once.

        Texts are brought into the form that labels have in training, see `data.stored.labels`.

        Raises:
          ValueError: There is no text, one isn't a string or was decoded wrongly, or the level is unknown.
        """
        self._check_level(level)
        try:
            texts = labels_of(texts)
        except ValueError as error:
            raise ValueError(f"texts: {error} (encode_ids takes token ids)") from None
        different = {text: index for index, text in enumerate(dict.fromkeys(texts))}
        ids, _ = self.tokenizer.encode(list(different), self.spec.lengths[level])
        if len(different) == len(texts):
            return self.encode_ids(ids, level)
        return self.encode_ids(ids, level)[
            [different[text] for text in texts]
        ]  # each computed once

    def encode_ids(self, ids: ArrayLike, level: str = "global") -> Float[np.ndarray, "N D"]:
        """Embeds token ids, int [N, L]. Each row must have an end-of-text id.

        What follows it is ignored, but by SigLIP's towers, which were trained with padding there.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"ids are {ids.dtype} {ids.shape}; integers [N, L] are expected")
        if ids.shape[1] > self._max_length:
            raise ValueError(
                f"ids have {ids.shape[1]} tokens a row; the model reads {self._max_length}"
            )
        vocab_size = self.spec.model["text"]["vocab_size"]
        if ids.size and not (0 <= ids.min() and ids.max() < vocab_size):
            raise ValueError(f"ids must be from 0 to {vocab_size - 1}")
        unended = np.flatnonzero((ids != self._eos_id).all(axis=1))
        if len(unended):
            raise ValueError(f"no end-of-text id {self._eos_id} in rows {unended[:10].tolist()}")
        self._check_level(level)
        # Texts of all lengths up to the level's share one compiled program.
        length = self.spec.lengths[level]
        length = length if ids.shape[1] <= length else self._max_length
        padded = np.full((len(ids), length), self.tokenizer.pad_id, np.int32)
        padded[:, : ids.shape[1]] = ids
        return self._run(self._runner.texts, len(ids), level, lambda part: padded[part])

    def similarity(
        self, images: Float[np.ndarray, "N D"], texts: Float[np.ndarray, "M D"]
    ) -> Float[np.ndarray, "N M"]:
        """Cosines between embeddings of images and of texts (or any two sets of embeddings)."""
        images, texts = (
            np.asarray(x, np.float32) / np.linalg.norm(x, axis=-1, keepdims=True)
            for x in (images, texts)
        )
        return images @ texts.T

    def logit_scale(self, level: str = "global") -> float:
        """The factor on a level's cosines before a softmax, at most 100."""
        self._check_level(level)
        name = level if level in levels_of(self.spec.model["arch"]) else "global"
        return float(jnp.minimum(jnp.exp(self.params[f"logit_scale/{name}"]), 100.0))

    def logit_bias(self, level: str = "global") -> float:
        """The bias added to the scaled cosines of a model trained with the sigmoid loss; 0 for others."""
        self._check_level(level)
        name = level if level in levels_of(self.spec.model["arch"]) else "global"
        return float(self.params.get(f"logit_bias/{name}", 0.0))

    def temperature(self, level: str = "global") -> float:
        """What divides a level's scaled cosines before the softmax of `describe`; 1 if it isn't calibrated."""
        self._check_level(level)
        return self.temperatures.get(level, 1.0)

    def branch(self, level: str) -> str:
        """The branch of the model that serves a level."""
        self._check_level(level)
        return branch_of(self.spec.model["arch"], level)

    def alike(self, level: str) -> str:
        """A common name for levels that embed images, and texts of one length, in the same way."""
        self._check_level(level)
        arch, packing = self.spec.model["arch"], self.spec.model.get("patch_packing", False)
        if pools(self.spec.model):
            return level  # each has its own head

        def key(other: str) -> tuple[str, bool]:
            return head_of(arch, other), sees_visible_only(arch, packing, other)

        return next(other for other in LEVELS if key(other) == key(level))

    def _check_level(self, level: str) -> None:
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}; it must be one of {', '.join(LEVELS)}")

    def _run(
        self, encode: Callable, count: int, level: str, take: Callable[[slice], np.ndarray]
    ) -> np.ndarray:
        """Runs one of the runner's towers over `count` inputs; `take` gives the inputs of a slice."""
        self._check_level(level)
        if not count:
            raise ValueError("nothing to encode: the list is empty")
        return encode(self.params, count, self.alike(level), take)  # such levels share a program

    def _pixels(self, pictures: Sequence[Picture]) -> Float[np.ndarray, "N P P 3"]:
        return normalize_pixels(np.stack([self._view(picture) for picture in pictures]))

    def _view(self, picture: Picture) -> np.ndarray:
        image = open_checked(picture).picture
        return view_canvas(image, photo_view(*image.size, self.image_size, self.spec.fit))


def _check(params: dict[str, Any], shapes: dict[str, Any]) -> None:
    different = sorted(
        path
        for path in params.keys() | shapes.keys()
        if path not in params
        or path not in shapes
        or tuple(params[path].shape) != tuple(shapes[path].shape)
    )
    if different:
        raise CheckpointError(
            f"weights and model.json don't belong together: {', '.join(different[:10])}"
            f"{' …' if len(different) > 10 else ''}; copy the checkpoint again"
        )
