"""How much room each scene of a data set needs in a batch, measured once."""

import hashlib
import json
import shutil
import zipfile
from array import array
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.console import say
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.packing.measure import ALONE, Crew, Parts
from scenarioclip_jax.data.packing.needs import Needs
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.files import write_whole

# Bytes; larger files are mapped into memory. Cutting a mapped file short ends the process, so others are read.
_MAPPED = 256 << 20
_FORM = 1  # increased when the same settings give different sizes
# The settings that sizes depend on, besides the scenes and the tokenizer.
_SETTINGS = ("image_size", "patch_size", "fit", "min_visible_pixels", "shuffle_texts")


class Sizes(NamedTuple):
    """How much room each scene of a data set needs.

    Those of many scenes stay in their file: processes share its pages, and workers get its name.
    """

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
        for values in self:
            content.update(np.ascontiguousarray(values).data)
        return content.hexdigest()[:16]

    def __reduce__(self) -> tuple[Callable, tuple]:
        file = getattr(self.counts, "filename", None)  # of a memory map
        return (_mapped, (Path(file),)) if file else (Sizes, tuple(self))


def collect(
    needs: Iterable[Mapping[str, Needs] | None], tokenizer: Tokenizer, settings: DataSettings
) -> Sizes:
    """Collects the sizes of records, one per entry of `needs`; an unreadable record counts as empty."""
    # Compact arrays: lists of numbers would need eight times as much.
    counts, starts, numbers = array("f"), array("q", [0]), array("i")
    known: dict[tuple[str, str], int] = {}
    for need in needs:
        levels = [need["object"], need["relation"]] if need else [Needs([], [])] * 2
        counts.extend([len(v.texts) for v in levels] + [sum(v.patches) for v in levels])
        told = {
            (level, text)
            for level, of_level in (need or {}).items()
            for text in (*of_level.texts, *of_level.further)
        }
        numbers.extend(known.setdefault(each, len(known)) for each in sorted(told))
        starts.append(len(numbers))
    tokens = np.zeros((len(known), len(LEVELS)), np.float32)
    for column, level in enumerate(LEVELS if settings.text_row_tokens else ()):
        texts = {text: number for (of, text), number in known.items() if of == level}
        encoded, _ = tokenizer.encode_ragged(list(texts), settings.level(level).text_length)
        tokens[list(texts.values()), column] = list(map(len, encoded))
    return Sizes(
        np.frombuffer(counts, np.float32).reshape(-1, 4),
        np.frombuffer(starts, np.int64),
        np.frombuffer(numbers, np.int32),
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
    if crew.index > 0:  # the first process collects for all that see its file
        crew.wait("the sizes of the scenes are collected")
        sizes = _read(file) or collect(parts.needs(), tokenizer, settings)
    else:
        sizes = collect(parts.needs(), tokenizer, settings)
        if file and not parts.failed:
            _keep(sizes, file)
            sizes = _read(file) or sizes
        crew.wait("the sizes of the scenes are collected")
    if parts.failed:
        record, error = next(iter(parts.failed.items()))
        say(
            f"{len(parts.failed)} scenes couldn't be measured, count as empty, and will be tried again at the "
            f"next start; the first is record {record}: {error}"
        )
    elif file and not file.is_file():  # the first process's disk isn't this one's
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
        if file.stat().st_size > _MAPPED:
            return _mapped(file)
        with np.load(file) as kept:
            return Sizes(*(kept[name] for name in Sizes._fields))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _mapped(file: Path) -> Sizes:
    """Maps the arrays of a kept file into memory; they lie in it as they are, after a header each."""
    arrays = {}
    with zipfile.ZipFile(file) as members, file.open("rb") as stream:
        for name in Sizes._fields:
            member = members.getinfo(f"{name}.npy")
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{file}: {name} is compressed")
            stream.seek(member.header_offset + 26)  # lengths of the member's name and extra field
            name_length, extra = np.frombuffer(stream.read(4), "<u2").tolist()
            stream.seek(name_length + extra, 1)
            version = np.lib.format.read_magic(stream)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, _, dtype = read[version](stream)
            at = stream.tell()
            empty = 0 in shape  # a map can't be empty
            arrays[name] = (
                np.empty(shape, dtype) if empty else np.memmap(file, dtype, "r", at, shape)
            )
    return Sizes(**arrays)


def _key(source, tokenizer: Tokenizer, settings: DataSettings) -> str:
    """The key of the sizes: a digest of everything they depend on."""
    values = {name: getattr(settings, name) for name in _SETTINGS}
    values["text_rows"] = bool(settings.text_row_tokens)
    values["text_lengths"] = [settings.level(level).text_length for level in LEVELS]
    values["source"] = [len(source), getattr(source, "identity", "")]
    if settings.region_style != "stored":
        values["region_style"] = settings.region_style
    if any(settings.level(level).further for level in LEVELS):
        values["further"] = [
            *(bool(settings.level(level).further) for level in LEVELS),
            *(settings.make_negatives, settings.make_paraphrases, settings.caption_sentences),
        ]
    if settings.global_text != "action":
        values["global_text"] = settings.global_text
    values |= {"form": _FORM, "seed": settings.seed if settings.shuffle_texts else None}
    values["tokenizer"] = tokenizer.to_json() if settings.text_row_tokens else ""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _keep(sizes: Sizes, file: Path) -> None:
    try:
        write_whole(file, lambda stream: np.savez(stream, **sizes._asdict()))
    except OSError as error:
        say(f"the sizes of the scenes aren't kept: {error}")
