"""The embeddings of an album, as faiss compares them with a query.

They are made of the store's items, and made anew whenever these have changed. All but the store can be deleted.
"""

import dataclasses
import functools
from array import array
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from scenarioclip_jax.console import say
from scenarioclip_jax.files import UNFINISHED, whole, write_whole
from scenarioclip_jax.models.scenario_clip import LEVELS
from scenarioclip_jax.search.store import AlbumError, Store

SAMPLE = 5_000  # embeddings from which the usual cosine with a query is estimated
EXACT = 500_000  # up to so many embeddings, a query is compared with all of them
PROBES = 64  # of the cells of more embeddings, those that are looked into


@dataclasses.dataclass(frozen=True)
class Vectors:
    """The items of one level, in the order of their contents.

    Attributes:
      items, contents: Ids in the store.
      index: Their embeddings, of length 1, in half precision: a faiss index.
    """

    items: Int[np.ndarray, " N"]
    contents: Int[np.ndarray, " N"]
    index: Any

    def nearest(self, query: Float[np.ndarray, " D"], count: int) -> Int[np.ndarray, " K"]:
        """The rows that are most like a vector of length 1, the best first."""
        _, rows = self.index.search(query[None].astype(np.float32), min(count, len(self.items)))
        return rows[0][rows[0] >= 0]  # cells that are looked into may hold fewer

    def best(
        self, query: Float[np.ndarray, " D"], contents: Int[np.ndarray, " C"]
    ) -> tuple[Float[np.ndarray, " C"], Int[np.ndarray, " C"]]:
        """The largest cosine among each content's items, and its row; NaN and 0 where it has none."""
        first, last = (np.searchsorted(self.contents, contents, side) for side in ("left", "right"))
        counts = last - first
        rows = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        owners = np.repeat(np.arange(len(contents)), counts)
        cosines = self._take(rows) @ query if len(rows) else np.zeros(0, np.float32)
        order = np.lexsort((cosines, owners))  # the last of each owner is its best
        found = np.full(len(contents), np.nan, np.float32)
        place = np.zeros(len(contents), np.int64)
        found[owners[order]], place[owners[order]] = cosines[order], rows[order]
        return found, place

    def usual(self, query: Float[np.ndarray, " D"]) -> tuple[float, float]:
        """Mean and standard deviation of the cosines of a vector with the items, from a sample of them."""
        cosines = self._sample @ query
        return float(cosines.mean()), max(float(cosines.std()), 1e-4)

    @functools.cached_property
    def _sample(self) -> Float[np.ndarray, "N D"]:
        rows = np.arange(len(self.items))
        if len(rows) > SAMPLE:
            rows = np.sort(np.random.default_rng(0).choice(len(rows), SAMPLE, replace=False))
        return self._take(rows)

    def _take(self, rows: Int[np.ndarray, " K"]) -> Float[np.ndarray, "K D"]:
        return self.index.reconstruct_batch(rows.astype(np.int64))


def make_index(vectors: Float[np.ndarray, "N D"], exact: int | None = None) -> Any:
    """A faiss index of vectors of length 1: all in a row, or, if there are many, in cells around centers.

    Args:
      vectors: The vectors.
      exact: Up to how many all are compared; None: `EXACT`.
    """
    import faiss

    count, dim = vectors.shape
    half, product = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    if count <= (EXACT if exact is None else exact):
        index = faiss.IndexScalarQuantizer(dim, half, product)
    else:
        cells = int(4 * count**0.5)
        index = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatIP(dim), dim, cells, half, product)
        index.train(vectors[:: max(1, count // (40 * cells))].astype(np.float32))
        index.nprobe = PROBES
    for start in range(0, count, 100_000):
        index.add(vectors[start : start + 100_000].astype(np.float32))
    return _by_row(index)


def _by_row(index: Any) -> Any:
    """An index that finds an embedding by its row, as cells don't by themselves."""
    if hasattr(index, "make_direct_map"):
        index.make_direct_map()
    return index


def check_faiss() -> None:
    """Raises AlbumError if faiss isn't installed."""
    try:
        import faiss  # noqa: F401
    except ModuleNotFoundError as error:
        raise AlbumError(
            "searching needs faiss, which isn't installed: pip install 'scenarioclip_jax[search]'"
        ) from error


def open_vectors(folder: Path, store: Store) -> tuple[str, dict[str, Vectors]]:
    """Opens the items by level, and makes their files where these are missing, damaged or of another state.

    Files have the store's state in their names, so they fit each other, whoever makes them.

    Returns:
      The state, and the items by level.
    """
    check_faiss()
    found = {}
    with store.snapshot():
        state = store.state()
        for level in LEVELS:
            if level in store.counts():
                made = _opened(folder, state, level) or _made(folder, store, state, level)
                if made:
                    found[level] = made
    return state, found


def sweep(folder: Path, state: str) -> None:
    """Removes files of other states, and what was being written when a process died."""
    for file in folder.glob("*.faiss"):
        if not file.name.endswith(f"-{state}.faiss"):
            file.unlink(missing_ok=True)
            file.with_suffix(".npy").unlink(missing_ok=True)
    for file in folder.glob(f".*{UNFINISHED}*"):
        file.unlink(missing_ok=True)


def _file(folder: Path, state: str, level: str) -> Path:
    return folder / f"{level}-{state}.faiss"


def _made(folder: Path, store: Store, state: str, level: str) -> Vectors | None:
    import faiss

    ids, parts = array("q"), []
    for item, content, vector in store.vectors(level):
        ids.extend((item, content))
        parts.append(vector)
    if not parts:
        return None
    vectors = np.frombuffer(b"".join(parts), np.float16).reshape(len(parts), -1)
    pairs = np.frombuffer(ids, np.int64).reshape(-1, 2)
    index, file = make_index(vectors), _file(folder, state, level)
    try:
        write_whole(file.with_suffix(".npy"), lambda stream: np.save(stream, pairs))
        with whole(file) as unfinished:
            faiss.write_index(index, str(unfinished))
    except (OSError, RuntimeError) as error:  # faiss raises the latter
        say(
            f"{folder}: embeddings can't be kept there ({error}), so each query sorts them again",
            error=True,
        )
    return Vectors(pairs[:, 0], pairs[:, 1], index)


def _opened(folder: Path, state: str, level: str) -> Vectors | None:
    import faiss

    file = _file(folder, state, level)
    try:
        pairs = np.load(file.with_suffix(".npy"), allow_pickle=False)
        index = _by_row(faiss.read_index(str(file), faiss.IO_FLAG_MMAP))
    except (OSError, ValueError, EOFError, RuntimeError):
        return None  # missing or damaged
    return Vectors(pairs[:, 0], pairs[:, 1], index) if index.ntotal == len(pairs) else None
