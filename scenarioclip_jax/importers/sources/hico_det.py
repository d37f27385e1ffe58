"""HICO-DET: people, objects and what people do with them.

The annotations are one MATLAB file, which is read as a whole: SciPy has no other way. A person is boxed anew
for each verb, so boxes of one person are found by their overlap.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.io

from scenarioclip_jax.data.build.participants import overlap
from scenarioclip_jax.data.build.problems import DROPPED, KEPT, NOTED
from scenarioclip_jax.importers import boxes, texts
from scenarioclip_jax.importers.draft import Draft, Thing
from scenarioclip_jax.importers.photos import Photos
from scenarioclip_jax.importers.source import Record, Run, Source, SourceError
from scenarioclip_jax.storage.cache import local_copy

_PERSON = "person"
_NOTHING = "no_interaction"
_SPLITS = {"bbox_train": ("train", "train2015"), "bbox_test": ("test", "test2015")}
_WITHIN = (
    0.9  # overlap from which boxes of one verb are of one person: different people may be near
)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--annotations", required=True, metavar="FILE", help="anno_bbox.mat")
    parser.add_argument(
        "--merge-iou",
        type=float,
        default=0.7,
        metavar="IOU",
        help="boxes with the same name that were drawn for different verbs are one object from this "
        "intersection over union on (default: %(default)s; 2: never)",
    )


def _records(args: argparse.Namespace, run: Run) -> Iterator[Record]:
    path = local_copy(args.annotations)
    run.files.append(str(path))
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file; name anno_bbox.mat")
    try:
        content = scipy.io.loadmat(path, simplify_cells=True)
    except Exception as error:  # SciPy raises many kinds, some of them of its C code
        raise SourceError(
            f"{path} isn't a MATLAB file that SciPy reads, or is cut short ({error}); download it again"
        ) from error
    missing = [name for name in (*_SPLITS, "list_action") if name not in content]
    if missing:
        there = ", ".join(name for name in content if not name.startswith("__"))
        raise SourceError(
            f"{path} has no {', '.join(missing)}, but {there or 'nothing'}; name anno_bbox.mat of HICO-DET "
            "(anno.mat has no boxes)"
        )
    if not all(
        isinstance(content[name], list | dict | np.ndarray) for name in (*_SPLITS, "list_action")
    ):
        raise SourceError(
            f"{path} holds other values than HICO-DET's lists; download anno_bbox.mat again"
        )
    actions = _listed(content["list_action"])
    photos = Photos(run.images)
    for name, (split, folder) in _SPLITS.items():
        rows = _listed(content[name])
        for number, row in enumerate(run.progress(rows, f"photos of {name}", "photos", len(rows))):
            where = f"{path.name} {name}({number + 1})"
            inputs = (args, run, photos, actions, row, where, split, folder)
            if record := run.attempt(where, _record, *inputs):
                yield record


def _record(
    args: argparse.Namespace,
    run: Run,
    photos: Photos,
    actions: list[dict[str, Any]],
    row: dict[str, Any],
    where: str,
    split: str,
    folder: str,
) -> Record | None:
    name = str(row["filename"])
    path, is_there = photos.find(name, [folder, f"images/{folder}"])
    size = int(row["size"]["width"]), int(row["size"]["height"])
    draft = Draft(
        *(run.problems, f"hico-{name.rpartition('.')[0]}", path, where, size),
        split=run.split or split,
        source="HICO-DET",
    )
    if not is_there:
        draft.problem("photo_not_found", KEPT, "scene", f"{name} isn't in --images")
    done: Counter[str] = Counter()  # what is done in the photo, by the number of pairs
    for number, interaction in enumerate(_listed(row["hoi"])):
        done.update(_add(draft, actions, interaction, number))
    draft.merge(_is_same(args.merge_iou))
    draft.set_field("action", done.most_common(1)[0][0] if done else "")
    return draft.finish()


def _add(
    draft: Draft, actions: list[dict[str, Any]], interaction: dict[str, Any], number: int
) -> Iterator[str]:
    """Adds the pairs of an interaction; yields what is done, once for each."""
    where, id = f"hoi({number + 1})", int(interaction["id"])
    if not 1 <= id <= len(actions):
        detail = f"id {id} of {len(actions)} actions"
        draft.problem("unknown_action", DROPPED, "relation", detail, where)
        return
    action = actions[id - 1]
    noun = texts.label(str(action["nname"]).replace("_", " "))
    doing = texts.label(str(action.get("vname_ing") or action["vname"]).replace("_", " "))
    if np.any(interaction["invis"]):
        draft.problem("not_visible", NOTED, "relation", f"{doing} {noun}: without boxes", where)
        return
    for kind, name in (("bboxhuman", _PERSON), ("bboxobject", noun)):
        for position, box in enumerate(_listed(interaction[kind]), 1):
            x0, y0, x1, y1 = boxes.numbers([box[side] for side in ("x1", "y1", "x2", "y2")])
            # Pixels from x0 to x1, both of them, counted from 1.
            key, shown = (number, kind, position), (x0 - 1, y0 - 1, x1, y1)
            draft.add_object(
                key, name, shown, where=f"{where}.{kind}({position})", group=(number, kind)
            )
    for pair in np.asarray(interaction["connection"], int).reshape(-1, 2).tolist():
        if action["vname"] == _NOTHING:
            detail = f"person and {noun}: nothing is done"
            draft.problem("no_interaction", DROPPED, "relation", detail, where)
            continue
        ends = (number, "bboxhuman", pair[0]), (number, "bboxobject", pair[1])
        draft.add_relation(ends[0], doing, ends[1], where=where)
        if draft.name_of(ends[0]) and draft.name_of(ends[1]):
            yield f"{doing} {noun}"


def _is_same(least: float) -> Any:
    def same(a: Thing, b: Thing) -> bool:
        if a.name != b.name:
            return False
        return overlap(a.box, b.box) >= (max(least, _WITHIN) if a.group == b.group else least)

    return same


def _listed(value: Any) -> list[Any]:
    """A MATLAB array as a list; one of a single element is read as that element."""
    if isinstance(value, dict):
        return [value]
    return list(value)


SOURCE = Source("hico-det", "HICO-DET: what people do with objects", _add_flags, _records)
