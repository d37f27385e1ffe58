"""Embeds images from files and texts for the suites: each once, cached, on all devices."""

import collections
import copy
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float
from PIL import Image

from scenarioclip_jax import inference
from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.data.images import to_rgb
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.data.view import map_boxes, photo_view, show_region, union_region, view_canvas
from scenarioclip_jax.evaluation.embed.cache import (
    Cache,
    NoCache,
    code_digest,
    digest,
    params_digest,
)
from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.image_files import pixels_of
from scenarioclip_jax.models.scenario_clip import pools
from scenarioclip_jax.parallel.mesh import make_mesh
from scenarioclip_jax.progress_bar import progress_bar

BLOCK = 4096  # inputs per cache file

# A function that embeds texts at a level, as `Encoder.texts` does.
TextsOf = Callable[[Sequence[str], str], Float[np.ndarray, "N D"]]


class Picture(NamedTuple):
    """An image in a file, or a part of it. Boxes are (x0, y0, x1, y1) in pixels of the upright photo.

    Attributes:
      crop: The part to use, which is cut out first and is black beyond the photo; None for the whole image.
      keep: Boxes of the participants, which show a focused region in the model's style; () shows everything.
    """

    path: Path
    crop: tuple[float, float, float, float] | None = None
    keep: tuple[tuple[float, float, float, float], ...] = ()


@runtime_checkable
class Encoder(Protocol):
    """Embeds images and texts as float32 [N, D], in the order of the inputs, not normalized.

    Equal inputs have the same embedding to the last bit, so that ties are exact.
    """

    def images(self, pictures: Sequence[Picture], level: str) -> Float[np.ndarray, "N D"]: ...

    def texts(self, texts: Sequence[str], level: str) -> Float[np.ndarray, "N D"]: ...

    def fits(self, text: str, level: str) -> bool: ...


def by_levels(encode, inputs: Sequence, levels: Sequence[str]) -> Float[np.ndarray, "V N D"]:
    """Stacks `encode(inputs, level)` for some levels; `ranks.cosines` uses the best of them."""
    return np.stack([encode(inputs, level) for level in levels])


class ModelEncoder:
    """Embeds with a model.

    Args:
      cache: Cache that keeps embeddings.
      threads: Number of threads that open and resize images.
      quiet: Whether to show no progress bar.

    Attributes:
      digest: Digest of the weights, the model's settings and its tokenizer: the checkpoint's hash.
      longest_texts: Whether texts are read up to the tower's last position rather than training's length.
      cut: For each token length, whether each embedded text had to be cut.
    """

    def __init__(
        self,
        model: inference.Model,
        cache: Cache | NoCache,
        *,
        batch_size: int = 64,
        threads: int = 2,
        quiet: bool = False,
    ):
        self.model, self.cache, self.quiet = model.on(make_mesh(), batch_size), cache, quiet
        self._batch_size, self._threads = batch_size, threads
        self.longest_texts, self.cut = False, {}
        self.digest = checkpoint_hash(model.params, model.spec, model.tokenizer)
        self._base = digest(self.digest, code_digest(), jax.default_backend())
        self._file_digest = functools.lru_cache(maxsize=1 << 20)(_file_digest)

    def key(self, *parts) -> str:
        """The cache key of something that this model computes from `parts`."""
        return digest(self._base, *parts)

    def images(self, pictures: Sequence[Picture], level: str) -> Float[np.ndarray, "N D"]:
        """See `Encoder`. Raises SuiteError if a file can't be decoded or a crop is outside it."""

        def parts(block: Sequence[Picture]) -> Iterable:
            return ((self._file_digest(p.path), p.crop, p.keep) for p in block)

        return self._blocks("image", pictures, level, parts, self._encode_pictures)

    def texts(self, texts: Sequence[str], level: str) -> Float[np.ndarray, "N D"]:
        """See `Encoder`."""
        length = self.text_length(level)
        counted = self.cut.setdefault(length, {})
        unknown = [text for text in dict.fromkeys(texts) if text not in counted]
        for start in range(0, len(unknown), BLOCK):
            block = unknown[start : start + BLOCK]
            rows, _ = self.model.tokenizer.encode_ragged(block, length + 1)
            counted |= {text: len(row) > length for text, row in zip(block, rows, strict=True)}

        def encode(block: Sequence[str], level: str) -> np.ndarray:
            ids, _ = self.model.tokenizer.encode(block, length)
            return self.model.encode_ids(ids, level)

        return self._blocks("text", texts, level, iter, encode)

    def fits(self, text: str, level: str) -> bool:
        """Whether a text is read to its end."""
        length = self.text_length(level)
        return self.model.tokenizer.encode_ragged([text], length)[1][0] <= length

    def text_length(self, level: str) -> int:
        """The number of tokens that a text is cut to, including bos and eos."""
        if self.longest_texts:
            return self.model.spec.model["text"]["max_length"]
        return self.model.spec.lengths[level]

    def counting(self, longest_texts: bool = False) -> "ModelEncoder":
        """Returns this encoder with a new count of texts, which may be as long as the tower can read."""
        other = copy.copy(self)
        other.cut, other.longest_texts = {}, longest_texts
        return other

    def _blocks(self, kind: str, inputs: Sequence, level: str, parts, encode) -> np.ndarray:
        """Embeds every distinct input once, block by block."""
        if not len(inputs):
            raise ValueError("nothing to embed")
        # Levels that share towers and text length also share embeddings.
        length = self.text_length(level) if kind == "text" else 0
        alike = self.model.alike(level)
        unique = list(dict.fromkeys(inputs))
        found = []
        starts = range(0, len(unique), BLOCK)
        quiet = self.quiet or len(starts) < 2
        for start in progress_bar(starts, f"blocks of {kind}s, {level}", disable=quiet):
            block = unique[start : start + BLOCK]
            key = self.key(kind, alike, length, *parts(block))
            found.append(self.cache.get(key, lambda block=block: encode(block, level)))
        row = {each: i for i, each in enumerate(unique)}
        return np.concatenate(found)[[row[each] for each in inputs]]

    def _encode_pictures(self, pictures: Sequence[Picture], level: str) -> np.ndarray:
        found = []
        title = f"pictures, {level}"
        with progress_bar(total=len(pictures), desc=title, disable=self.quiet) as bar:
            if pictures[0].keep and self._has_places(level):
                # One pass over the photo for all of its parts.
                for path, of_photo in itertools.groupby(pictures, lambda each: each.path):
                    ends = 2 if level == "relation" else 1
                    places = [(each.keep[0], each.keep[-1])[:ends] for each in of_photo]
                    found.append(self._encode_places(path, places, level))
                    bar.update(len(places))
                return np.concatenate(found)
            for views in self._views(pictures):
                found.append(self.model.encode_image(views, level))
                bar.update(len(views))
        return np.concatenate(found)

    def _has_places(self, level: str) -> bool:
        """Whether parts are told to the model by their boxes: objects, and relations that are pooled."""
        return level == "object" or (level == "relation" and pools(self.model.spec.model))

    def _encode_places(self, path: Path, places: Sequence, level: str) -> np.ndarray:
        return self.model.encode_places(opened(path), np.array(places, np.float32), level)

    def _views(self, pictures: Sequence[Picture]) -> Iterator[list[np.ndarray]]:
        """Yields batches of views, read ahead by threads."""
        spec = self.model.spec
        view = functools.partial(
            view_of, size=self.model.image_size, fit=spec.fit, style=spec.region_style
        )
        ahead: collections.deque = collections.deque()
        with ThreadPoolExecutor(self._threads) as pool:
            for start in range(0, len(pictures), self._batch_size):
                batch = pictures[start : start + self._batch_size]
                ahead.append([pool.submit(view, picture) for picture in batch])
                if len(ahead) > 2:
                    yield [future.result() for future in ahead.popleft()]
            while ahead:
                yield [future.result() for future in ahead.popleft()]


def view_of(picture: Picture, size: int, fit: str, style: str = "stored") -> np.ndarray:
    """Returns an image as the towers see it, before normalization: uint8 [size, size, 3].

    Args:
      picture: The image, or a part of it.
      size, fit: Side of the view in pixels, and how the image is fitted to it.
      style: How a focused region is shown, one of `data.region_styles.STYLES`.

    Raises:
      SuiteError: The file can't be decoded, or the crop is outside it.
    """
    image = opened(picture.path)
    if picture.crop:
        pixels = pixels_of(picture.crop, image.size)
        if pixels is None:
            raise SuiteError(
                f"{picture.path}: the box {picture.crop} lies outside of its {image.size} pixels"
            )
        image = image.crop(pixels)  # pads with black, as ARO's own loader does
    view = photo_view(*image.size, size, fit)
    canvas = view_canvas(image, view)
    if picture.keep:
        # Masked in the view, as in training, so that edges are equally sharp.
        boxes = np.array(picture.keep)
        region = union_region(map_boxes(boxes, view), size)
        canvas = show_region(canvas, region, boxes, view, image.size, style)
    return canvas


def opened(path: Path) -> Image.Image:
    try:
        return to_rgb(path)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL byte
        detail = str(error).removeprefix(f"{path}: ")
        raise SuiteError(f"{path}: the image can't be read: {detail}") from error


def checkpoint_hash(params: Mapping[str, Any], spec: ModelSpec, tokenizer: Tokenizer) -> str:
    """A digest of all that a model's embeddings depend on: its float32 weights, settings and tokenizer."""
    return digest(params_digest(params), repr(spec), tokenizer.to_json())


def _file_digest(path: Path) -> str:
    try:
        return digest(path.read_bytes())
    except OSError as error:
        raise SuiteError(f"{path}: the image can't be read: {error}") from error
