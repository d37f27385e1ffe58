"""What each scene needs of a batch's room, known without decoding its photo."""

import contextlib
import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import grain
import numpy as np

from scenarioclip_jax.data.packing import NAMES, length_of, shown_patches, text_of
from scenarioclip_jax.data.photo import FittedScene, Shapes, fit_shapes
from scenarioclip_jax.data.scene import Scene
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.progress_bar import progress_bar

THREADS = 8  # that read
_FORM = 1  # raised where the same settings give other sizes
# What sizes depend on, beside the scenes and the tokenizer.
_SETTINGS = (
    *("image_size", "patch_size", "fit", "min_visible", "text_row", "shuffle_texts"),
    *("scene_length", "object_length", "relation_length"),
)


class Needs(NamedTuple):
    """What one scene needs at a level."""

    texts: list[str]  # of what shows; of the scene itself its action
    patches: list[int]  # of each of its views, class token included; empty where nothing is packed


class Sizes(NamedTuple):
    """What all scenes of a data set need."""

    counts: np.ndarray  # float32 [records, 4]: objects, relations, patches of their views
    starts: np.ndarray  # int64 [records + 1]: where each scene's texts begin in `texts`
    texts: np.ndarray  # int32: the different texts of each scene, by number
    tokens: (
        np.ndarray
    )  # float32 [texts, 3]: of each text, in the column of its level; 0 if not packed

    def of_scene(self, record: int) -> np.ndarray:
        """The numbers of a scene's texts."""
        return self.texts[self.starts[record] : self.starts[record + 1]]

    def digest(self) -> str:
        """Of all of it: other sizes give batches of other scenes."""
        content = hashlib.sha256()
        for array in self:
            content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()[:16]


def needs_of(
    scene: Scene, shapes: Shapes | FittedScene, settings: DataSettings
) -> dict[str, Needs]:
    """By level."""
    found = {"global": Needs([scene.action], [])}
    for level, area in (("object", shapes.object_area), ("relation", shapes.region_area)):
        visible = np.flatnonzero(area >= max(settings.min_visible, 1e-6))
        texts = [text_of(scene, level, i) for i in visible]
        patches = shown_patches(shapes, level, settings) if settings.patch_size else []
        found[level] = Needs(texts, [len(patches[i]) for i in visible] if patches else [])
    return found


def measure(source, settings: DataSettings, records: Sequence[int]) -> Iterator[dict | Exception]:
    """What records of a source need, in order, as of `needs_of`; or why one can't be read."""

    def needs(index: int) -> dict[str, Needs] | Exception:
        try:  # anything may be raised by damaged bytes, as in `pipeline.load_item`
            scene = source[records[index]]
            return needs_of(scene, fit_shapes(scene, settings.image_size, settings.fit), settings)
        except Exception as error:
            return error

    # Threads, for what is far away; few scenes ahead, for records have their photos.
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=4 * THREADS)
    yield from grain.MapDataset.range(len(records)).map(needs).to_iter_dataset(options)


def collect(
    needs: Iterable[Mapping[str, Needs] | None], tokenizer: Tokenizer, settings: DataSettings
) -> Sizes:
    """Sizes of as many records; one that can't be read counts as empty."""
    counts, lengths, numbers = [], [], []
    known: dict[tuple[str, str], int] = {}
    for need in needs:
        levels = [need["object"], need["relation"]] if need else [Needs([], [])] * 2
        counts.append([len(v.texts) for v in levels] + [sum(v.patches) for v in levels])
        told = {(level, text) for level in NAMES for text in need[level].texts} if need else ()
        lengths.append(len(told))
        numbers += [known.setdefault(each, len(known)) for each in sorted(told)]
    tokens = np.zeros((len(known), len(NAMES)), np.float32)
    for column, level in enumerate(NAMES if settings.text_row else ()):
        texts = {text: number for (of, text), number in known.items() if of == level}
        encoded, _ = tokenizer.encode_ragged(list(texts), length_of(level, settings))
        tokens[list(texts.values()), column] = list(map(len, encoded))
    return Sizes(
        np.array(counts, np.float32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array(numbers, np.int32),
        tokens,
    )


def load_or_measure(
    source, tokenizer: Tokenizer, settings: DataSettings, folder: Path | None
) -> Sizes:
    """Sizes of all records of a source, measured once and kept.

    Args:
      folder: of the shards, where they are kept in `sizes-….npz`; None, or one that can't be written to: they
        are measured every time, as they are while a record can't be read, since that may pass.
    """
    file = folder and folder / f"sizes-{_key(source, tokenizer, settings)}.npz"
    if file and file.is_file():
        try:
            with np.load(file) as kept:
                return Sizes(*(kept[name] for name in Sizes._fields))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # cut short: measured again
    failed: dict[int, Exception] = {}

    def readable() -> Iterator[dict[str, Needs] | None]:
        found = measure(source, settings, range(len(source)))
        title = "Measuring scenes for data.balance"
        for record, need in enumerate(
            progress_bar(found, title, len(source), unit=" scenes", mininterval=5)
        ):
            if isinstance(need, Exception):
                failed[record] = need
            yield None if isinstance(need, Exception) else need

    sizes = collect(readable(), tokenizer, settings)
    if failed:
        record, error = next(iter(failed.items()))
        print(
            f"{len(failed)} scenes couldn't be measured, count as empty, and will be tried again at the next "
            f"start; the first is record {record}: {error}",
            flush=True,
        )
    elif file:
        _keep(sizes, file)
    return sizes


def _key(source, tokenizer: Tokenizer, settings: DataSettings) -> str:
    """Names the sizes: what they depend on, in short."""
    values = {name: getattr(settings, name) for name in _SETTINGS}
    values["text_row"] = bool(values["text_row"])
    values["source"] = [len(source), getattr(source, "identity", "")]
    values |= {"form": _FORM, "seed": settings.seed if settings.shuffle_texts else None}
    values["tokenizer"] = tokenizer.to_json() if settings.text_row else ""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _keep(sizes: Sizes, file: Path) -> None:
    """Writes the file as a whole, or not at all: several processes may do so at once."""
    unfinished = None
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".sizes-", delete=False) as stream:
            unfinished = Path(stream.name)
            np.savez(stream, **sizes._asdict())
        unfinished.chmod(0o644)
        unfinished.replace(file)
    except OSError as error:
        print(f"the sizes of the scenes aren't kept: {error}", flush=True)
        if unfinished:
            with contextlib.suppress(OSError):
                unfinished.unlink()
