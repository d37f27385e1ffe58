"""Embeds the photos below a folder, as far as the index doesn't hold what they show."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from scenarioclip_jax.data.images import open_image
from scenarioclip_jax.data.photo_boxes import check_boxes
from scenarioclip_jax.data.photo_listing import found_below
from scenarioclip_jax.describe.detector import Detector
from scenarioclip_jax.inference import Model
from scenarioclip_jax.progress_bar import progress_bar
from scenarioclip_jax.search.store import Content, Item, Store

AT_ONCE = 64  # photos that are opened together, embedded, and then kept in one transaction

Boxes = Mapping[str, Sequence[Sequence[float]]]


class Outcome(NamedTuple):
    """What an update did.

    Attributes:
      photos: Photos below the folder.
      embedded: Contents that are new.
      gone: Photos that were forgotten, because their files aren't there any more.
      unreadable: Files that the system didn't give, with its reason; the next update tries them again.
    """

    photos: int
    embedded: int
    gone: int
    unreadable: list[tuple[str, str]]


class Finder(NamedTuple):
    """What finds boxes in photos for which none are given.

    Attributes:
      told: The detector and its settings; boxes of another one are other boxes.
      detector: The detector.
      names: What it looks for.
    """

    told: str
    detector: Detector
    names: Sequence[str]


class _File(NamedTuple):
    """A photo's file as it is now."""

    path: str
    stamp: str
    content: bytes
    digest: str


def update(
    store: Store,
    model: Model,
    photos: Path,
    boxes: Boxes,
    most_pairs: int,
    finder: Finder | None = None,
) -> Outcome:
    """Brings an index up to date with the photos below a folder.

    Args:
      store: The index.
      model: The model that embeds them.
      photos: The folder.
      boxes: Boxes of objects by the path of a photo below the folder: x0, y0, x1, y1 in pixels of the upright
        photo.
      most_pairs: Most relations of a photo; those of the pairs with the smallest gaps.
      finder: What finds boxes in the other photos.
    """
    by_finder = [finder.told, *finder.names, most_pairs] if finder else []

    def made_of(path: str) -> str:
        """What a photo's items depend on, beside its file."""
        given = boxes.get(path)
        return json.dumps([given, most_pairs] if given is not None else by_finder)

    stamps, paths = store.stamps(), list(found_below(photos))
    gone = sorted(stamps.keys() - set(paths))
    embedded, unreadable = 0, []
    rest = iter(paths)

    def look(path: str) -> _File | OSError | None:
        return _look(photos, path, made_of(path), stamps.get(path))

    with progress_bar(desc="indexing", total=len(paths)) as bar, ThreadPoolExecutor() as pool:
        while chunk := list(itertools.islice(rest, AT_ONCE)):
            files = []
            for path, found in zip(chunk, pool.map(look, chunk), strict=True):
                if isinstance(found, OSError):
                    unreadable.append((path, found.strerror or str(found)))
                elif found:
                    files.append(found)
            new = {file.digest: file for file in files if not store.knows(file.digest)}
            opened = pool.map(_open, new.values())
            contents = [
                _embed(model, file, picture, boxes.get(file.path), most_pairs, finder)
                for file, picture in zip(new.values(), opened, strict=True)
            ]
            if files:
                store.add(contents, [(file.path, file.stamp, file.digest) for file in files])
            embedded += len(contents)
            bar.update(len(chunk))
    # At the end, because a photo that was moved is new under its other path.
    store.forget(gone)
    return Outcome(len(paths), embedded, len(gone), unreadable)


def _look(photos: Path, path: str, own: str, stamp: str | None) -> _File | OSError | None:
    """Reads a photo's file; None if it is as it was.

    Args:
      photos, path: The folder, and the photo in it.
      own: What its items depend on, beside its file.
      stamp: The state in which the index knows it.
    """
    try:
        state = (photos / path).stat()
        now = f"{state.st_size}:{state.st_mtime_ns}:{_digest(own.encode())}"
        if now == stamp:
            return None
        content = (photos / path).read_bytes()
    except OSError as error:
        return error
    return _File(path, now, content, _digest(own.encode(), content))


def _digest(*parts: bytes) -> str:
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def _open(file: _File) -> Image.Image | Exception:
    try:
        return open_image(file.content, name=file.path).picture
    except (OSError, ValueError) as error:
        return error


def _embed(
    model: Model,
    file: _File,
    picture: Image.Image | Exception,
    boxes: Sequence | None,
    most_pairs: int,
    finder: Finder | None,
) -> Content:
    """Embeds a photo, and the objects and relations in it."""
    if isinstance(picture, Exception):
        return Content(file.digest, (0, 0), str(picture))
    items = [Item("global", [], _unit(model.encode_image([picture], "global"))[0])]
    if boxes is None and finder:
        boxes = finder.detector(picture, finder.names).tolist()
    if boxes:
        try:
            places = check_boxes(boxes, "object", picture.size)[:, 0]
        except ValueError as error:
            return Content(file.digest, picture.size, f"its boxes can't be used: {error}")
        places = places[model.share_in_view(places, picture.size) > 0]
        pairs = _nearest_pairs(places, most_pairs)
        for level, each in (("object", places[:, None]), ("relation", places[pairs])):
            if len(each):
                vectors = _unit(model.encode_places(picture, each, level))
                items += [
                    Item(level, ends.tolist(), vector)
                    for ends, vector in zip(each, vectors, strict=True)
                ]
    return Content(file.digest, picture.size, "", items)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float16)


def _nearest_pairs(places: np.ndarray, most: int) -> np.ndarray:
    """Pairs of boxes, int [K, 2], those with the smallest gaps between them."""
    pairs = np.array(list(itertools.combinations(range(len(places)), 2)), int).reshape(-1, 2)
    first, second = places[pairs[:, 0]], places[pairs[:, 1]]
    gaps = np.maximum(first[:, :2] - second[:, 2:], second[:, :2] - first[:, 2:]).clip(min=0)
    return pairs[np.sort(np.argsort(np.hypot(*gaps.T), kind="stable")[:most])]
