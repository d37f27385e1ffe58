"""Embeds the photos below a folder, as far as the index doesn't hold what they show."""

import itertools
import json
import os
import posixpath
import stat
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from scenarioclip_jax.data.images import open_image
from scenarioclip_jax.data.photo_boxes import check_boxes
from scenarioclip_jax.data.photo_listing import found_below
from scenarioclip_jax.describe.boxes import Detector
from scenarioclip_jax.describe.detector import DetectorError
from scenarioclip_jax.evaluation.embed.cache import digest
from scenarioclip_jax.inference import Model
from scenarioclip_jax.progress_bar import progress_bar
from scenarioclip_jax.search.store import AlbumError, Content, Item, Store

AT_ONCE = 64  # photos that are kept in one transaction,
SECONDS = 5.0  # or as many as are embedded in this time
AHEAD = 4  # photos that are opened while another is embedded

Boxes = Mapping[str, Sequence[Sequence[float]]]
Given, Made = TypeVar("Given"), TypeVar("Made")


class Outcome(NamedTuple):
    """What an update did.

    Attributes:
      photos: Photos below the folder.
      embedded: Contents that are new.
      gone: Photos that were forgotten, because their files aren't there any more.
      left_out: Photos and folders that couldn't be used this time, with the reason; the next update tries them
        again.
      unmatched: Photos that boxes were given for and that aren't there.
    """

    photos: int
    embedded: int
    gone: int
    left_out: list[tuple[str, str]]
    unmatched: list[str]


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
    """A photo's file as it is now.

    Attributes:
      path: Its path below the folder.
      stamp: The state of the file, and of what its items depend on beside it.
      digest: Of its content, and of the same.
      picture: What it shows, or why it can't be opened; None if the index knows it.
    """

    path: str
    stamp: str
    digest: str
    picture: Image.Image | str | None


class _Unkept:
    """What was found since the store was last written to.

    Args:
      store: The store.

    Attributes:
      embedded: Contents that were new, in all.
    """

    def __init__(self, store: Store):
        self._store, self.embedded = store, 0
        self._contents: list[Content] = []
        self._photos: list[tuple[str, str, str]] = []
        self._began = time.monotonic()

    def add(self, file: _File, content: Content | None) -> None:
        """Adds a photo, and what it shows if that is new."""
        if content:
            self._contents.append(content)
        self._photos.append((file.path, file.stamp, file.digest))
        if len(self._photos) >= AT_ONCE or time.monotonic() - self._began > SECONDS:
            self.keep()

    def keep(self) -> None:
        """Writes all of it in one transaction."""
        if self._photos:
            self._store.add(self._contents, self._photos)
        self.embedded += len(self._contents)
        self._contents, self._photos, self._began = [], [], time.monotonic()


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
      boxes: Boxes of objects by the path of a photo, below the folder or whole: x0, y0, x1, y1 in pixels of the
        upright photo.
      most_pairs: Most relations of a photo; those of the pairs with the smallest gaps.
      finder: What finds boxes in the other photos.

    Raises:
      AlbumError: No photo of the index is there any more.
    """
    boxes = {_below(photos, path): value for path, value in boxes.items()}
    by_finder = [finder.told, *finder.names, most_pairs] if finder else []
    stamps, known, unkept = store.stamps(), store.digests(), _Unkept(store)
    paths, left_out = _listed(photos)
    gone = _gone(store, photos, stamps, paths, left_out)

    def look(path: str) -> tuple[str, _File | str | None]:
        given = boxes.get(path)
        own = json.dumps([given, most_pairs] if given is not None else by_finder)
        return path, _look(photos, path, own, stamps.get(path), known)

    with progress_bar(desc="indexing", total=len(paths)) as bar, ThreadPoolExecutor(AHEAD) as pool:
        for path, file in _ahead(pool, look, paths):
            bar.update(1)
            if isinstance(file, str):
                left_out.append((path, file))
            elif file:
                content = None
                if file.digest not in known:
                    try:
                        content = _embed(model, file, boxes.get(path), most_pairs, finder)
                    except DetectorError as error:
                        left_out.append((path, str(error)))
                        continue
                    known.add(file.digest)
                unkept.add(file, content)
        unkept.keep()
    # At the end, because a photo that was moved is new under its other path.
    store.forget(gone)
    unmatched = sorted(boxes.keys() - set(paths))
    return Outcome(len(paths), unkept.embedded, len(gone), left_out, unmatched)


def _listed(photos: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The photos, and the folders that can't be listed, which end in a slash, with the reason."""
    hidden: list[OSError] = []
    paths = list(found_below(photos, onerror=hidden.append))
    told = [
        (f"{_below(photos, str(e.filename))}/", f"can't be listed ({e.strerror})") for e in hidden
    ]
    return paths, told


def _gone(
    store: Store,
    photos: Path,
    stamps: Mapping[str, str],
    paths: Sequence[str],
    hidden: Sequence[tuple[str, str]],
) -> list[str]:
    """The photos of the index that aren't there any more; what lies below a hidden folder may be there.

    Raises:
      AlbumError: These are all.
    """
    below = tuple(folder for folder, _ in hidden)
    gone = [path for path in stamps.keys() - set(paths) if not path.startswith(below)]
    if stamps and len(gone) == len(stamps):
        raise AlbumError(
            f"{photos}: none of the {len(stamps):,} photos of the index is there any more; mount the drive or "
            f"name their folder. To forget them all, delete {store.file.parent}"
        )
    return gone


def _below(photos: Path, path: str) -> str:
    """A path as the listing has it: below the folder, without needless parts."""
    if posixpath.isabs(path):
        path = os.path.relpath(path, photos.absolute())
    return posixpath.normpath(path)


def _ahead(
    pool: ThreadPoolExecutor, make: Callable[[Given], Made], given: Iterable[Given]
) -> Iterator[Made]:
    """Like `pool.map`, but only a few are made before they are used."""
    rest = iter(given)
    running = deque(pool.submit(make, each) for each in itertools.islice(rest, AHEAD))
    while running:
        made = running.popleft().result()
        running.extend(pool.submit(make, each) for each in itertools.islice(rest, 1))
        yield made


def _look(
    photos: Path, path: str, own: str, stamp: str | None, known: Collection[str]
) -> _File | str | None:
    """Reads a photo's file; None if it is as it was, or why it can't be read.

    Args:
      photos, path: The folder, and the photo in it.
      own: What its items depend on, beside its file.
      stamp: The state in which the index knows it.
      known: Digests of contents that needn't be opened.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name isn't UTF-8; rename it"
    try:
        state = (photos / path).stat()
        if not stat.S_ISREG(state.st_mode):
            return "isn't a file"
        now = f"{state.st_size}:{state.st_mtime_ns}:{digest(own)}"
        if now == stamp:
            return None
        content = (photos / path).read_bytes()
    except OSError as error:
        return error.strerror or str(error)
    file = _File(path, now, digest(own, content), None)
    if file.digest in known:
        return file
    try:
        return file._replace(picture=open_image(content).picture)
    except (OSError, ValueError, MemoryError) as error:
        return file._replace(picture=str(error) or "there isn't enough memory to open it")


def _embed(
    model: Model, file: _File, boxes: Sequence | None, most_pairs: int, finder: Finder | None
) -> Content:
    """Embeds a photo, and the objects and relations in it.

    Raises:
      DetectorError: The detector fails at it.
    """
    picture = file.picture
    assert picture is not None  # its content isn't known
    if isinstance(picture, str):
        return Content(file.digest, (0, 0), picture)
    items = [Item("global", [], _unit(model.encode_image([picture], "global"))[0])]
    if boxes is None and finder:
        boxes = finder.detector(picture, finder.names).tolist()
    places, problem = _places(boxes or (), picture)
    places = places[model.share_in_view(places, picture.size) > 0] if len(places) else places
    pairs = _nearest_pairs(places, most_pairs)
    for level, each in (("object", places[:, None]), ("relation", places[pairs])):
        if len(each):
            vectors = _unit(model.encode_places(picture, each, level))
            items += [
                Item(level, ends.tolist(), vector)
                for ends, vector in zip(each, vectors, strict=True)
            ]
    return Content(file.digest, picture.size, problem, items)


def _places(boxes: Sequence, picture: Image.Image) -> tuple[np.ndarray, str]:
    """The boxes that can be used, [N, 4], and why the first of the others can't."""
    found, problem = [], ""
    for number, box in enumerate(boxes):
        try:
            found.append(check_boxes([box], "object", picture.size)[0, 0])
        except ValueError as error:
            problem = problem or f"its box {number} can't be used: {error}"
    return np.array(found, np.float32).reshape(-1, 4), problem


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float16)


def _nearest_pairs(places: np.ndarray, most: int) -> np.ndarray:
    """Pairs of boxes, int [K, 2], those with the smallest gaps between them."""
    pairs = np.array(list(itertools.combinations(range(len(places)), 2)), int).reshape(-1, 2)
    first, second = places[pairs[:, 0]], places[pairs[:, 1]]
    gaps = np.maximum(first[:, :2] - second[:, 2:], second[:, :2] - first[:, 2:]).clip(min=0)
    return pairs[np.sort(np.argsort(np.hypot(*gaps.T), kind="stable")[:most])]
