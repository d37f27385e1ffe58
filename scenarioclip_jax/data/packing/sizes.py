"""How much room each scene of a data set needs in a batch, measured once."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.packing.measure import ALONE, Crew, Parts
from scenarioclip_jax.data.packing.needs import Needs
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.files import write_whole

_FORM = 1  # increased when the same settings give different sizes
# The settings that sizes depend on, besides the scenes and the tokenizer.
_SETTINGS = ("image_size", "patch_size", "fit", "min_visible_pixels", "shuffle_texts")


class Sizes(NamedTuple):
    """How much room each scene of a data set needs."""

    counts: np.ndarray  # float32 [records, 4]: objects, relations, patches of their views
    starts: np.ndarray  # int64 [records + 1]: where each scene's texts begin in `texts`
    texts: np.ndarray  # int32: the distinct texts of each scene, by number
    # float32 [texts, 3]: the tokens of each text, in the column of its level; 0 if texts aren't packed
    tokens: np.ndarray

    def of_scene(self, record: int) -> np.ndarray:
        """The numbers of a scene's texts."""
        return self.texts[self.starts[record] : self.starts[record + 1]]

    def digest(self) -> str:
        """Digest of all sizes, since different sizes give batches of different scenes."""
        content = hashlib.sha256()
        for array in self:
            content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()[:16]


def collect(
    needs: Iterable[Mapping[str, Needs] | None], tokenizer: Tokenizer, settings: DataSettings
) -> Sizes:
    """Collects the sizes of records, one per entry of `needs`; an unreadable record counts as empty."""
    counts, lengths, numbers = [], [], []
    known: dict[tuple[str, str], int] = {}
    for need in needs:
        levels = [need["object"], need["relation"]] if need else [Needs([], [])] * 2
        counts.append([len(v.texts) for v in levels] + [sum(v.patches) for v in levels])
        told = {(level, text) for level in LEVELS for text in need[level].texts} if need else ()
        lengths.append(len(told))
        numbers += [known.setdefault(each, len(known)) for each in sorted(told)]
    tokens = np.zeros((len(known), len(LEVELS)), np.float32)
    for column, level in enumerate(LEVELS if settings.text_row_tokens else ()):
        texts = {text: number for (of, text), number in known.items() if of == level}
        encoded, _ = tokenizer.encode_ragged(list(texts), settings.level(level).text_length)
        tokens[list(texts.values()), column] = list(map(len, encoded))
    return Sizes(
        np.array(counts, np.float32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array(numbers, np.int32),
        tokens,
    )


def load_or_measure(
    source, tokenizer: Tokenizer, settings: DataSettings, folder: Path | None, crew: Crew = ALONE
) -> Sizes:
    """Returns the sizes of all records of a source, measured once by all processes together and then kept.

    Args:
      folder: The folder of the shards. Sizes are kept there in `sizes-….npz` and, while they are measured, in
        parts from which a stopped run continues. If it is None or can't be written to, every process measures
        all sizes every time. Parts with an unreadable record are also measured every time, since the cause may
        be temporary.
      crew: The processes that share the work, and this one's place among them.

    Raises:
      MeasuringStopped: `crew.stop` returned True.
      InputUnavailableError: The system refuses to read a record.
    """
    key = _key(source, tokenizer, settings)
    file = folder and folder / f"sizes-{key}.npz"
    kept = _read(file)
    # All processes read the file, or none: on machines with separate disks, only some may have it.
    if crew.everybody(kept is not None):
        assert kept is not None  # everybody is this process too
        return kept
    parts = Parts(source, settings, folder and folder / f".sizes-{key}")
    parts.measure(crew)
    sizes = collect(parts.needs(), tokenizer, settings)
    if parts.failed:
        record, error = next(iter(parts.failed.items()))
        print(
            f"{len(parts.failed)} scenes couldn't be measured, count as empty, and will be tried again at the "
            f"next start; the first is record {record}: {error}",
            flush=True,
        )
    elif file:
        _keep(sizes, file)
    crew.wait("all processes know the sizes of the scenes")
    if parts.folder and not parts.failed and crew.index == 0:
        shutil.rmtree(parts.folder, ignore_errors=True)
    return sizes


def _read(file: Path | None) -> Sizes | None:
    """Reads sizes that were kept; None if there are none or the file is incomplete."""
    if file is None or not file.is_file():
        return None
    try:
        with np.load(file) as kept:
            return Sizes(*(kept[name] for name in Sizes._fields))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _key(source, tokenizer: Tokenizer, settings: DataSettings) -> str:
    """The key of the sizes: a digest of everything they depend on."""
    values = {name: getattr(settings, name) for name in _SETTINGS}
    values["text_rows"] = bool(settings.text_row_tokens)
    values["text_lengths"] = [settings.level(level).text_length for level in LEVELS]
    values["source"] = [len(source), getattr(source, "identity", "")]
    if settings.region_style != "stored":
        values["region_style"] = settings.region_style
    if settings.global_text != "action":
        values["global_text"] = settings.global_text
    values |= {"form": _FORM, "seed": settings.seed if settings.shuffle_texts else None}
    values["tokenizer"] = tokenizer.to_json() if settings.text_row_tokens else ""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _keep(sizes: Sizes, file: Path) -> None:
    try:
        write_whole(file, lambda stream: np.savez(stream, **sizes._asdict()))
    except OSError as error:
        print(f"the sizes of the scenes aren't kept: {error}", flush=True)
