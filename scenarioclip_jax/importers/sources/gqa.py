"""GQA: scene graphs, one object in a JSON file with an entry for each photo."""

import argparse
from collections.abc import Iterator
from typing import Any

from scenarioclip_jax.data.build.problems import DROPPED, KEPT
from scenarioclip_jax.importers import boxes, json_stream, texts
from scenarioclip_jax.importers.draft import Draft
from scenarioclip_jax.importers.merging import add_merge_flags, is_same
from scenarioclip_jax.importers.photos import Photos
from scenarioclip_jax.importers.source import Record, Run, Source, SourceError
from scenarioclip_jax.storage.cache import local_copy

# Half of all relations: a program made them of the boxes, and flipping a photo makes them false.
_SIDES = ("to the left of", "to the right of")


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scene-graphs",
        nargs="+",
        required=True,
        metavar="FILE",
        help="train_sceneGraphs.json, val_sceneGraphs.json",
    )
    parser.add_argument(
        "--keep-sides",
        action="store_true",
        help=f"keep the relations {' and '.join(map(repr, _SIDES))}, which a program made of the boxes",
    )
    add_merge_flags(parser, any_name=0.9, same_name=0.6)


def _records(args: argparse.Namespace, run: Run) -> Iterator[Record]:
    photos = Photos(run.images)
    for path in map(local_copy, args.scene_graphs):
        run.files.append(str(path))
        if json_stream.is_array(path):
            raise SourceError(
                f"{path} is an array; GQA's scene graphs are an object of photos. Visual Genome's files "
                "are read by `visual-genome`"
            )
        split = run.split_of(path)
        graphs = json_stream.pairs(path)
        for id, graph in run.progress(graphs, f"photos of {path.name}", "photos"):
            where = f"{path.name} {id}"
            inputs = (args, run, photos, id, graph, where, split)
            if record := run.attempt(where, _record, *inputs):
                yield record


def _record(
    args: argparse.Namespace,
    run: Run,
    photos: Photos,
    id: str,
    graph: dict[str, Any],
    where: str,
    split: str | None,
) -> Record | None:
    path, is_there = photos.find(f"{id}.jpg", ["images"])
    size = int(graph["width"]), int(graph["height"])
    draft = Draft(run.problems, f"gqa-{id}", path, where, size, split=split, source="GQA")
    if not is_there:
        draft.problem("photo_not_found", KEPT, "scene", f"{id}.jpg isn't in --images")
    things: dict[str, dict[str, Any]] = graph["objects"]
    for key, thing in things.items():
        x, y, w, h = boxes.numbers([thing.get(side) for side in ("x", "y", "w", "h")])
        box = boxes.from_xywh([x - 1, y - 1, w, h])  # as in Visual Genome, the first pixel is 1, 1
        attributes = map(texts.label, thing.get("attributes") or ())
        name = texts.label(thing.get("name"))
        draft.add_object(key, name, box, where=f"object {key}", attributes=attributes)
    for key, thing in things.items():
        for relation in thing.get("relations") or ():
            predicate = texts.label(relation.get("name"))
            if predicate in _SIDES and not args.keep_sides:
                detail = f"{thing.get('name')} {predicate} object {relation.get('object')}"
                draft.problem("made_of_boxes", DROPPED, "relation", detail, f"object {key}")
            else:
                draft.add_relation(key, predicate, relation.get("object"), where=f"object {key}")
    draft.merge(is_same(args))
    return draft.finish()


SOURCE = Source("gqa", "GQA: scene graphs with attributes", _add_flags, _records)
