"""Metadata as tasks of Label Studio, to look through and correct there."""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from scenarioclip_jax.files import write_text, write_whole
from scenarioclip_jax.importers import metadata
from scenarioclip_jax.importers.photos import Photos
from scenarioclip_jax.importers.source import Export, Record, Records, SourceError
from scenarioclip_jax.storage.cache import local_copy


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prefix",
        default="/data/local-files/?d=",
        help="what Label Studio needs before a photo's path (default: %(default)s, files of its machine)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="where the labeling interface goes, as XML (default: nowhere)",
    )


def _write(
    records: Records, path: Path, args: argparse.Namespace, finish: Callable[[], None]
) -> dict[str, int]:
    config = local_copy(args.config) if args.config else None
    if config and config.exists() and not args.overwrite:
        raise SourceError(f"--config={config} is there already; replace it: --overwrite")
    photos = Photos(local_copy(args.images) if args.images else None)
    counts: Counter[str] = Counter()
    names: set[str] = set()
    predicates: set[str] = set()

    def write(stream: BinaryIO) -> None:
        for number, record in enumerate(records(), 1):
            text = json.dumps(
                _task(number, record, photos, args.prefix, counts), ensure_ascii=False
            )
            stream.write(("[\n" if number == 1 else ",\n").encode() + text.encode())
            names.update(thing["name"] for thing in metadata.objects(record))
            predicates.update(predicate for _, predicate, _ in metadata.relations(record))
        stream.write(b"\n]\n" if counts["tasks"] else b"[]\n")
        finish()

    write_whole(path, write)
    if config:
        write_text(config, _interface(sorted(names), sorted(predicates)))
    return dict(counts)


def _task(
    id: int, record: Record, photos: Photos, prefix: str, counts: Counter[str]
) -> dict[str, Any]:
    image = record["image_path"]
    # A path in a query is quoted; that of an address is quoted by its parts, too.
    meta = {name: record[name] for name in ("id", "split") if record.get(name) is not None}
    task = {"id": id, "data": {"image": prefix + quote(image), "meta": meta}}
    result = list(_result(record, photos, counts))
    counts["tasks"] += 1
    return task | {"annotations": [{"result": result}]}


def _result(record: Record, photos: Photos, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    objects = metadata.objects(record)
    size = metadata.size(record, photos) if objects else (0, 0)
    for position, thing in enumerate(objects):
        counts["regions"] += 1
        counts["masks left out"] += bool(thing.get("mask"))
        place = {"original_width": size[0], "original_height": size[1], "image_rotation": 0}
        place |= {"id": f"object-{position}", "to_name": "image"}
        box = _percent(thing["box"], size)
        score = {"score": thing["score"]} if thing.get("score") is not None else {}
        value = box | {"rotation": 0, "rectanglelabels": [thing["name"]]}
        yield {**place, **score, "from_name": "label", "type": "rectanglelabels", "value": value}
        if thing.get("attributes"):
            value = box | {"text": thing["attributes"]}
            yield {**place, "from_name": "attributes", "type": "textarea", "value": value}
    relations = metadata.relations(record)
    counts["relations left out"] += len(record.get("relations") or ()) - len(relations)
    for subject, predicate, object in relations:
        counts["relations"] += 1
        ends = {"from_id": f"object-{subject}", "to_id": f"object-{object}"}
        yield {**ends, "type": "relation", "direction": "right", "labels": [predicate]}
    texts = {"action": [record["action"]] if record.get("action") else []}
    texts["captions"] = metadata.captions(record)
    for name, told in texts.items():
        if told:
            counts["texts"] += len(told)
            place = {"id": name, "from_name": name, "to_name": "image", "type": "textarea"}
            yield {**place, "value": {"text": told}}


def _percent(box: list[float], size: tuple[int, int]) -> dict[str, float]:
    x0, y0, x1, y1 = box
    return {
        "x": x0 / size[0] * 100,
        "y": y0 / size[1] * 100,
        "width": (x1 - x0) / size[0] * 100,
        "height": (y1 - y0) / size[1] * 100,
    }


def _interface(names: list[str], predicates: list[str]) -> str:
    """The labeling interface that shows these tasks."""
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in names)
    relations = "\n".join(f"    <Relation value={quoteattr(text)}/>" for text in predicates)
    return f"""<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image">
{labels}
  </RectangleLabels>
  <Relations>
{relations}
  </Relations>
  <TextArea name="attributes" toName="image" perRegion="true"/>
  <TextArea name="action" toName="image" maxSubmissions="1"/>
  <TextArea name="captions" toName="image"/>
</View>
"""


EXPORT = Export(
    "export-label-studio",
    "Label Studio tasks of metadata, to look through and correct there",
    _add_flags,
    _write,
)
