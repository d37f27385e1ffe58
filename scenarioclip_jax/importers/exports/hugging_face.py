"""Metadata and photos as a folder that the library `datasets` of Hugging Face loads.

    DIR/README.md                      the data set card; that of the metadata's folder if there is one
    DIR/data/SPLIT-00000.parquet, …    photos with their annotations

As in shards, photos are upright and have no EXIF, GPS or other metadata any more.

`datasets.load_dataset("DIR")` gives a `DatasetDict` of the splits.
"""

import argparse
import contextlib
import json
import secrets
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from scenarioclip_jax.data.build.photo_files import open_photo
from scenarioclip_jax.data.build.photo_folders import Folders, PhotoError
from scenarioclip_jax.data.stored.splits import split_of
from scenarioclip_jax.importers import metadata
from scenarioclip_jax.importers.source import SPLITS, Export, Record, Records, SourceError
from scenarioclip_jax.storage.cache import local_copy

_CARD, _PICTURES = "README.md", "examples"  # as `annotate assemble` writes them
_FILE_BYTES = 500 << 20  # of photos in a file
_GROUP_BYTES = 32 << 20  # of photos that are held and written at once
_THING = {
    "name": pa.string(),
    "box": pa.list_(pa.float64()),
    "score": pa.float64(),
    "mask": pa.string(),  # run lengths as in COCO, as JSON
}
_RELATION = {"subject": pa.int64(), "predicate": pa.string(), "object": pa.int64()}
_COLUMNS = {
    "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    "id": pa.string(),
    "action": pa.string(),
    "captions": pa.list_(pa.string()),
    "objects": pa.list_(pa.struct(_THING)),
    "relations": pa.list_(pa.struct(_RELATION)),
    "group": pa.string(),
    "source": pa.string(),
}


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.description = "Photos and metadata as a folder for datasets.load_dataset(DIR)"


class _Split:
    """Writes the files of a split."""

    def __init__(self, folder: Path, split: str):
        self._folder, self._split, self._number = folder, split, 0
        self._rows: list[dict[str, Any]] = []
        self._held = self._in_file = 0
        self._writer: parquet.ParquetWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._held += len(row["image"]["bytes"])
        if self._held >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        schema = pa.schema(_COLUMNS, metadata={"huggingface": json.dumps(_features())})
        if self._writer is None:
            name = f"{self._split}-{self._number:05d}.parquet"
            self._writer = parquet.ParquetWriter(self._folder / name, schema)
            self._number += 1
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema))
        self._in_file += self._held
        self._rows, self._held = [], 0
        if self._in_file >= _FILE_BYTES:
            self._writer.close()
            self._writer, self._in_file = None, 0

    def close(self) -> None:
        self._flush()
        if self._writer:
            self._writer.close()


def _features() -> dict[str, Any]:
    """The columns as `datasets` describes them."""

    def value(kind: pa.DataType) -> dict[str, Any]:
        if pa.types.is_list(kind):
            return {"feature": value(kind.value_type), "_type": "List"}
        if pa.types.is_struct(kind):
            return {field.name: value(field.type) for field in kind}
        return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}

    features = {name: value(kind) for name, kind in _COLUMNS.items()}
    return {"info": {"features": features | {"image": {"_type": "Image"}}}}


def _write(
    records: Records, path: Path, args: argparse.Namespace, finish: Callable[[], None]
) -> dict[str, int]:
    if not args.images:
        raise SourceError("the folder holds the photos, too; name where they are: --images DIR")
    folders = Folders(local_copy(args.images))
    counts: Counter[str] = Counter()
    unfinished = path.with_name(f".{path.name}.unfinished-{secrets.token_hex(4)}")
    (unfinished / "data").mkdir(parents=True)
    try:
        with contextlib.ExitStack() as held:
            splits: dict[str, _Split] = {}
            for record in records():
                name = _split_of(record)
                if name not in splits:
                    splits[name] = _Split(unfinished / "data", name)
                    held.callback(splits[name].close)
                splits[name].add(_row(record, folders))
                counts["photos"] += 1
                counts[f"of {name}"] += 1
        if not counts["photos"]:
            raise SourceError("the metadata holds no record, so nothing was written")
        _write_card(unfinished / _CARD, local_copy(args.metadata))
        finish()
        if path.exists():  # --overwrite was given, or the folder is empty
            shutil.rmtree(path)
        unfinished.rename(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return dict(counts)


def _split_of(record: Record) -> str:
    told = record.get("split")
    return SPLITS[told] if told else split_of(str(record.get("group") or record["id"]))


def _row(record: Record, folders: Folders) -> dict[str, Any]:
    try:
        photo = open_photo(folders, record["image_path"])
    except PhotoError as error:
        raise SourceError(
            f"record {record['id']}: {error}; check --images, or leave the record out"
        ) from error
    return {
        "image": {"bytes": photo.encoded, "path": Path(record["image_path"]).name},
        "id": str(record["id"]),
        "action": record.get("action") or "",
        "captions": metadata.captions(record),
        "objects": [
            {
                "name": thing["name"],
                "box": [float(value) for value in thing["box"]],
                "score": float(thing["score"]) if thing.get("score") is not None else None,
                "mask": json.dumps(thing["mask"]) if thing.get("mask") else "",
            }
            for thing in metadata.objects(record)
        ],
        "relations": [
            {"subject": subject, "predicate": predicate, "object": object_}
            for subject, predicate, object_ in metadata.relations(record)
        ],
        "group": str(record.get("group") or ""),
        "source": record.get("source") or "",
    }


def _write_card(file: Path, folder: Path) -> None:
    card = folder / _CARD
    if card.is_file():
        shutil.copyfile(card, file)
        if (pictures := folder / _PICTURES).is_dir():
            shutil.copytree(pictures, file.parent / _PICTURES)
        return
    text = (
        "---\nlicense: unknown\ntags:\n- scene-graph\n---\n\n# A data set of scenes\n\n"
        "Boxes are `[x0, y0, x1, y1]` in pixels of the upright photo, masks are run lengths as in COCO, and "
        "relations name their ends by positions in `objects`.\n"
    )
    file.write_text(text, encoding="utf-8")


EXPORT = Export(
    "export-hugging-face",
    "a folder of photos and metadata that datasets.load_dataset reads",
    _add_flags,
    _write,
    is_folder=True,
)
