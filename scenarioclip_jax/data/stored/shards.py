"""Reads a built data set: `Scene`s by index, the class texts, and the build's summary.

    DIR/action_genome/2.1.0/    what `python -m scenarioclip_jax.data.build --output DIR` wrote
        action_genome-train.array_record-00000-of-00001, ...
        dataset_info.json, features.json      TFDS: tfds.builder_from_directory reads the same files
        classes.json                          {"actions": {text: {split: count}}, "objects", "relations"}
        summary.json, problems.jsonl          what is in it, with digests of the splits, and what was wrong
        tokenizer.json                        a small tokenizer, trained on the class texts
        photos-train.npy, ...                 digests of the photos of each split, see data.photo_digests
        sizes-….npz                           the room that scenes need in a batch, once `data.balance` is used

TFDS and Grain aren't imported here, since they would cost every worker process 0.5 s and 1.5 s.
"""

import bisect
import hashlib
import json
import os
import re
import resource
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from scenarioclip_jax import faults
from scenarioclip_jax.data.stored import tf_example
from scenarioclip_jax.data.stored.scene import Relation, Scene, Triplet
from scenarioclip_jax.data.stored.splits import SPLITS
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.files import sha256_of
from scenarioclip_jax.shell import to_paste

NAME = "action_genome"
VERSION = "2.1.0"
# 2.0.0 had one caption, and no masks, scores, attributes, indices of participants and paraphrases.
READABLE = (VERSION, "2.0.0")
TOKENIZER = "tokenizer.json"
# Like Grain and TFDS, readers don't read ahead, because records are read in random order.
READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


_NONE = -1  # index of a participant that isn't among the objects
_Values = Mapping[str, Sequence]  # of an Example, by feature


class DataSetError(ReadableError, ValueError):
    """A built data set is missing, has another version, or is damaged."""


class _Shard(NamedTuple):
    path: str
    start: int  # index in the split of the shard's first record
    count: int


def dataset_dir(data_dir: str | Path) -> Path:
    """Returns the folder of the shards below `data_dir`.

    Raises:
      DataSetError: Nothing, or only another version, was built there.
    """
    if path := find_dataset(data_dir):
        return path
    path = Path(data_dir) / NAME
    others = sorted(p.parent.name for p in path.glob("*/dataset_info.json"))
    command = build_command(data_dir)
    if others:
        raise DataSetError(
            f"{path} holds version {', '.join(others)}, this code reads {', '.join(READABLE)}. "
            f"Build it again: {command}"
        )
    raise DataSetError(
        f"no data set in {data_dir} ({path / VERSION} isn't there). Build it: {command}"
    )


def find_dataset(data_dir: str | Path) -> Path | None:
    """Returns the folder of the newest readable shards below `data_dir`; None if there are none."""
    paths = (Path(data_dir) / NAME / version for version in READABLE)
    return next((path for path in paths if (path / "dataset_info.json").is_file()), None)


def is_info(name: str) -> bool:
    """Whether a path below `data_dir`, with slashes, is what makes a folder a data set."""
    return re.fullmatch(rf"{NAME}/[^/]+/dataset_info\.json", name) is not None


def build_command(data_dir: str | Path, *flags: str) -> str:
    """The command that builds a data set there."""
    words = ("python", "-m", "scenarioclip_jax.data.build", "--metadata", "ANNOTATIONS")
    return to_paste(*words, "--output", data_dir, *flags)


def load_summary(data_dir: str | Path) -> dict[str, Any]:
    """Returns what the build wrote into `summary.json`.

    This includes `splits` (scenes by split), `focus` (relations by how the focused region is stored) and
    `has_focus_images` (whether any `Relation.image` isn't empty).
    """
    return _read_json(dataset_dir(data_dir) / "summary.json")


def load_class_counts(data_dir: str | Path) -> dict[str, dict[str, dict[str, int]]]:
    """Returns {"actions" | "objects" | "relations": {text: {split: number of times}}}."""
    return _read_json(dataset_dir(data_dir) / "classes.json")


def load_classes(data_dir: str | Path) -> dict[str, list[str]]:
    """Returns the sorted class texts by "actions", "objects" and "relations".

    These are the classes that were listed and those that occur in any split.
    """
    return sort_classes(load_class_counts(data_dir))


def sort_classes(counts: dict[str, dict[str, dict[str, int]]]) -> dict[str, list[str]]:
    """Returns the sorted class texts by kind."""
    return {kind: sorted(of_kind) for kind, of_kind in counts.items()}


def open_split(data_dir: str | Path, split: str) -> "SceneSource":
    """Opens a split ("train", "validation" or "test") of a built data set.

    Raises:
      DataSetError: There is no such data set, or nothing in this split.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    folder = dataset_dir(data_dir)
    digest = load_summary(data_dir).get("digests", {}).get(split, "")
    entries = {entry["name"]: entry for entry in _read_json(folder / "dataset_info.json")["splits"]}
    if split not in entries:
        raise DataSetError(
            f"{folder} has no {split!r} split, only {sorted(entries)}: no photo's id falls into it. Build "
            f"it from more photos, or with other shares: "
            f"{build_command(data_dir, '--fractions', '0.5,0.2,0.3', '--overwrite')}"
        )
    counts = [int(length) for length in entries[split]["shardLengths"]]
    shards, start = [], 0
    for index, count in enumerate(counts):
        path = folder / f"{NAME}-{split}.array_record-{index:05d}-of-{len(counts):05d}"
        if not path.is_file():
            raise DataSetError(f"{path} is missing; the data set is incomplete, build it again")
        shards.append(_Shard(str(path), start, count))
        start += count
    return SceneSource(shards, digest)


def split_digest(folder: Path, split: str) -> str:
    """Digest of the content of a split's shards, the same wherever they lie; empty if it has none."""
    paths = sorted(folder.glob(f"{NAME}-{split}.array_record-*"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = [bytes.fromhex(each) for each in pool.map(sha256_of, paths)]
    return hashlib.sha256(b"".join(digests)).hexdigest() if digests else ""


class SceneSource:
    """The scenes of a split, by index. Files are opened on first use, so it pickles to a few bytes.

    Args:
      shards: The files.
      digest: Digest of their content from the data set's summary; empty if an earlier version built them.
    """

    def __init__(self, shards: list[_Shard], digest: str = ""):
        self._shards, self._digest = shards, digest
        self._starts = [shard.start for shard in shards]
        # With many shards, only a limited number of files stays open: those of the most recently used readers.
        self._readers: OrderedDict[int, ArrayRecordReader] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._shards[-1].start + self._shards[-1].count

    def __getitem__(self, index: int) -> Scene:
        """Returns scene `index`, 0 <= index < len; raises DataSetError if its record is damaged."""
        index = index.__index__()
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        number = bisect.bisect_right(self._starts, index) - 1
        shard = self._shards[number]
        position = index - shard.start
        try:
            return decode_scene(self._reader(number).read([position])[0])
        except Exception as error:
            raise DataSetError(
                f"record {position} of {shard.path} (scene {index} of the split) can't be read: {error}"
                + ("" if faults.passes(error) else ". Build the data set again, or copy it again.")
            ) from error

    def _reader(self, number: int) -> ArrayRecordReader:
        with self._lock:
            reader = self._readers.pop(number, None)
            if reader is None:
                reader = ArrayRecordReader(self._shards[number].path, options=READER_OPTIONS)
            self._readers[number] = reader
            while len(self._readers) > _most_open():
                self._readers.popitem(
                    last=False
                )  # closed when the last thread that reads it is done
            return reader

    @property
    def identity(self) -> str | list[tuple[str, int]]:
        """The digest of the content; without one, names and sizes in bytes of the files.

        Sizes are those of whole blocks of 64 KiB, so a rebuild with other labels may leave them as they are.
        """
        if self._digest:
            return self._digest
        return [(Path(shard.path).name, os.path.getsize(shard.path)) for shard in self._shards]

    def __repr__(self) -> str:
        return f"SceneSource({len(self)} scenes in {len(self._shards)} shards)"

    def __getstate__(self) -> dict[str, Any]:
        return {"_shards": self._shards, "_digest": self._digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_shards"], state["_digest"])


def _most_open() -> int:
    """Number of shards that a process keeps open: a quarter of its limit on files, and at most a thousand."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(1000, allowed // 4))


def encode_scene(scene: Scene) -> dict[str, Any]:
    """Returns a scene as the nested features that TFDS writes, see `data.build.tfds_format`."""
    relations = scene.relations
    triplets = [relation.triplet for relation in relations]
    negatives = [(i, n) for i, relation in enumerate(relations) for n in relation.negatives]
    boxes = np.stack([r.boxes for r in relations]) if relations else np.zeros((0, 2, 4), np.float32)
    return {
        "id": scene.id,
        "photo": scene.photo,
        "width": scene.width,
        "height": scene.height,
        "action": scene.action,
        "captions": list(scene.captions),
        "source": scene.source,
        "objects": {
            "name": scene.object_names,
            "box": scene.object_boxes,
            "mask": _each(scene.object_masks, b"", scene),
            "score": np.array(_each(scene.object_scores, np.nan, scene), np.float32),
        },
        "attributes": _pairs("object", scene.object_attributes),
        "relations": {
            **_columns(triplets),
            "subject_box": boxes[:, 0],
            "object_box": boxes[:, 1],
            "mask": [relation.mask for relation in relations],
            "image": [relation.image for relation in relations],
            "subject_index": [_NONE if r.pair is None else r.pair[0] for r in relations],
            "object_index": [_NONE if r.pair is None else r.pair[1] for r in relations],
        },
        "paraphrases": _pairs("relation", [relation.paraphrases for relation in relations]),
        # Nested lists would need TensorFlow, so each negative names its relation instead.
        "negatives": {"relation": [i for i, _ in negatives], **_columns([n for _, n in negatives])},
    }


def _columns(triplets: list[Triplet]) -> dict[str, list[str]]:
    return {
        part: [t[i] for t in triplets] for i, part in enumerate(("subject", "predicate", "object"))
    }


def decode_scene(serialized: bytes) -> Scene:
    """Returns the scene of a serialized `tf.train.Example`; raises if it is damaged."""
    values = tf_example.parse(serialized)
    relations, scores = _relations(values), values["objects/score"]
    scene = Scene(
        id=_texts(values, "id")[0],
        photo=values["photo"][0],
        width=values["width"][0],
        height=values["height"][0],
        action=_texts(values, "action")[0],
        captions=_texts(values, "captions") or list(filter(None, _texts(values, "dense_caption"))),
        object_names=_texts(values, "objects/name"),
        object_boxes=_boxes(values, "objects/box"),
        relations=relations,
        object_masks=values["objects/mask"] if any(values["objects/mask"]) else (),
        object_scores=() if np.isnan(scores).all() else scores,
        object_attributes=_grouped(values, "attributes", "object", len(values["objects/name"])),
        source="".join(_texts(values, "source")),
    )
    if len(scene.object_names) != len(scene.object_boxes):
        raise ValueError(f"{len(scene.object_names)} names, {len(scene.object_boxes)} boxes")
    return scene


def _relations(values: _Values) -> list[Relation]:
    parts = _boxes(values, "relations/subject_box"), _boxes(values, "relations/object_box")
    boxes = np.stack(parts, axis=1)
    negatives: list[list[Triplet]] = [[] for _ in boxes]
    of_negatives = zip(values["negatives/relation"], _triplets(values, "negatives"), strict=True)
    for relation, negative in of_negatives:
        negatives[relation].append(negative)
    indices = values["relations/subject_index"], values["relations/object_index"]
    pairs = [
        None if subject == _NONE else (subject, object_)
        for subject, object_ in zip(*indices, strict=True)
    ] or [None] * len(boxes)  # version 2.0.0 has none
    columns = (
        _triplets(values, "relations"),
        boxes,
        values["relations/mask"],
        values["relations/image"],
        negatives,
        pairs,
        _grouped(values, "paraphrases", "relation", len(boxes)) or [()] * len(boxes),
    )
    return [Relation(*each) for each in zip(*columns, strict=True)]


def _texts(values: _Values, name: str) -> list[str]:
    return [value.decode() for value in values[name]]


def _boxes(values: _Values, name: str) -> np.ndarray:
    return np.array(values[name], np.float32).reshape(-1, 4)


def _triplets(values: _Values, prefix: str) -> list[Triplet]:
    parts = [_texts(values, f"{prefix}/{part}") for part in ("subject", "predicate", "object")]
    return list(zip(*parts, strict=True))


def _grouped(values: _Values, name: str, owner: str, count: int) -> Sequence[Sequence[str]]:
    """The texts that `_pairs` laid out flat, by owner; empty if there are none."""
    found: list[list[str]] = [[] for _ in range(count)]
    texts = _texts(values, f"{name}/text")
    for index, text in zip(values[f"{name}/{owner}"], texts, strict=True):
        found[index].append(text)
    return found if any(found) else ()


def _each(values: Sequence[Any], default: Any, scene: Scene) -> list[Any]:
    """One value per object of a scene."""
    return list(values) if len(values) else [default] * len(scene.object_names)


def _pairs(owner: str, texts: Sequence[Sequence[str]]) -> dict[str, list[Any]]:
    """Lists of texts, flat, each text with the index of its owner."""
    flat = [(index, text) for index, some in enumerate(texts) for text in some]
    return {owner: [index for index, _ in flat], "text": [text for _, text in flat]}


def _read_json(path: Path) -> Any:
    """Reads a file of the data set; raises DataSetError if it is damaged, InputUnavailableError if refused."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        faults.refuse(error, path)
        raise DataSetError(f"{path} can't be read: {error}. Build the data set again.") from error
