"""What each scene needs of a batch's room, known without decoding its photo."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.packing import NAMES, length_of, shown_patches, text_of
from scenarioclip_jax.data.photo import Shapes, fit_shapes
from scenarioclip_jax.data.scene import Scene
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.tokens import Tokenizer

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


def needs_of(scene: Scene, shapes: Shapes, settings: DataSettings) -> dict[str, Needs]:
    """By level; `shapes` may be a `FittedScene` too."""
    found = {"global": Needs([scene.action], [])}
    for level, area in (("object", shapes.object_area), ("relation", shapes.region_area)):
        visible = np.flatnonzero(area >= max(settings.min_visible, 1e-6))
        texts = [text_of(scene, level, i) for i in visible]
        patches = shown_patches(shapes, level, settings) if settings.patch_size else []
        found[level] = Needs(texts, [len(patches[i]) for i in visible] if patches else [])
    return found


def measure(
    source, settings: DataSettings, records: Iterable[int]
) -> Iterator[dict[str, Needs] | None]:
    """What some records of a source need; None for one that can't be read."""
    for record in records:
        try:  # as `pipeline.load_item`, which is where corrupt records are counted
            scene = source[record]
            yield needs_of(scene, fit_shapes(scene, settings.image_size, settings.fit), settings)
        except Exception:
            yield None


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
        are measured every time, which takes half a millisecond a scene.
    """
    file = folder and folder / f"sizes-{_key(tokenizer, settings)}.npz"
    if file and file.is_file():
        try:
            with np.load(file) as kept:
                found = Sizes(*(kept[name] for name in Sizes._fields))
            if len(found.counts) == len(source):
                return found
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # cut short: measured again
    print(f"measuring {len(source)} scenes for data.balance", flush=True)
    sizes = collect(measure(source, settings, range(len(source))), tokenizer, settings)
    if file:
        _keep(sizes, file)
    return sizes


def _key(tokenizer: Tokenizer, settings: DataSettings) -> str:
    """Names the sizes: what they depend on, in short."""
    values = {name: getattr(settings, name) for name in _SETTINGS}
    values["text_row"] = bool(values["text_row"])
    values |= {"form": _FORM, "seed": settings.seed if settings.shuffle_texts else None}
    values["tokenizer"] = tokenizer.to_json() if settings.text_row else ""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _keep(sizes: Sizes, file: Path) -> None:
    """Writes the file as a whole, or not at all: several processes may do so at once."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as stream:
            np.savez(stream, **sizes._asdict())
        unfinished.replace(file)
    except OSError as error:
        print(f"the sizes of the scenes aren't kept: {error}", flush=True)
        unfinished.unlink(missing_ok=True)
