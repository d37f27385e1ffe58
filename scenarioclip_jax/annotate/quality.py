"""How good the pipeline's scenes are, against annotations that are true.

An object is found if a box overlaps its true box by half, one to one, and its name is the true name, or the
true name's last words. A triplet is found if its ends and predicate are those of a true relation; a grounding,
if both boxes are the right ones, too; a scene's action, if it is the true one. Precision asks the same of what
the pipeline gives. Boxes of a photo in another size are scaled, if the annotations give that size.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from scenarioclip_jax.annotate.chain import Chain
from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.models.detections import Box
from scenarioclip_jax.annotate.models.truth import is_short_for, pairs_of, read_truth, scaled
from scenarioclip_jax.annotate.stages.detect import detections_of
from scenarioclip_jax.annotate.work import Work
from scenarioclip_jax.data.build.participants import overlap
from scenarioclip_jax.data.build.photo_sizes import annotated_size
from scenarioclip_jax.data.build.records import Record
from scenarioclip_jax.data.stored.labels import normalize_label
from scenarioclip_jax.files import write_text

OVERLAP = 0.5  # intersection over union
_ROUNDING = 1.0  # pixels that a box may reach out of its photo
_DOUBTFUL = (
    0.1  # share of the photos that may have annotations whose size can't be told; they are left out
)
Graph = tuple[list[tuple[str, Box]], list[tuple[int, str, int]]]


def measure(work: Work, truth: Path) -> dict[str, Any]:
    """Compares all scenes of a working folder with true annotations.

    Returns:
      By step ("detect": all boxes; "regions": joined; "validate": after the filters), recall and precision
      from 0 to 1 of objects, triplets and groundings, with the numbers that they are of; of "validate" also of
      actions. The number of photos, how many of them have a scene, and how many scenes have the action of
      their video's folder in place of the captioner's, as `assemble` gives it to them. How many photos are left
      out, since the size of their annotations can't be told.

    Raises:
      ModelError: The annotations can't be read.
      WorkError: They are of none of the photos, or more than a few are of another size that they don't give.
    """
    records, chain = read_truth(truth, "--truth"), Chain(work)
    counts: dict[str, Counter[str]] = {
        step: Counter() for step in ("detect", "regions", "validate")
    }
    photos = scenes = of_folders = 0
    doubtful: list[str] = []
    try:
        for id, links in chain.links():
            true = records.get(id)
            if true is None:
                continue
            photos += 1
            known = chain.listing.known(id)
            true = _in_pixels(true, (known["width"], known["height"]))
            if isinstance(true, str):
                doubtful.append(f"{id}: {true}")
                continue
            outputs = chain.outputs(links)
            graphs = _graphs(outputs)
            scenes += graphs["validate"] != ([], [])
            for step, graph in graphs.items():
                _count(counts[step], graph, true)
            if scene := (outputs.get("validate") or {}).get("scene"):
                folder = chain.listing.source(id).get("action", "")
                of_folders += bool(folder)
                _count_action(counts["validate"], folder or scene.get("action", ""), true.action)
            else:
                _count_action(counts["validate"], "", true.action)
    finally:
        chain.close()
    if not photos:
        example = next(iter(records), "none")
        raise WorkError(
            f"--truth={truth}: has annotations of none of the photos in {work.images}; a photo's path there "
            f"has to be one of its paths, such as {example}, or the end of one"
        )
    if len(doubtful) > _DOUBTFUL * photos:
        raise WorkError(
            f"--truth={truth}: of {photos:,} photos {len(doubtful):,} have annotations of another size, such "
            f"as {doubtful[0]}; give the size that boxes are of as `width` and `height` of each record"
        )
    told = {"photos": photos, "scenes": scenes, "actions of folders": of_folders}
    told["left out"] = len(doubtful)
    return told | {step: _figures(counted) for step, counted in counts.items()}


def _in_pixels(true: Record, size: tuple[int, int]) -> Record | str:
    """A record with boxes in pixels of the photo, or why they can't be told."""
    shown = f"{size[0]} x {size[1]}"
    annotated = annotated_size(true.size, size, orientation=1)
    if annotated is None:
        return f"its size is given as {true.size}, which has another shape than the photo's {shown}"
    scaled_to = true._replace(size=annotated.size)
    boxes = [scaled(scaled_to, thing.box, size) for thing in true.objects]
    if any(max(box[2] - size[0], box[3] - size[1]) > _ROUNDING for box in boxes):
        return f"a box reaches out of the photo of {shown} pixels"
    objects = [thing._replace(box=box) for thing, box in zip(true.objects, boxes, strict=True)]
    return true._replace(objects=objects, size=size)


def _count_action(counts: Counter[str], given: str, true: str) -> None:
    given, true = normalize_label(given), normalize_label(true)
    counts["actions given"] += bool(given)
    counts["actions true"] += bool(true)
    counts["actions right"] += bool(given) and given == true


def _graphs(outputs: dict[str, Any]) -> dict[str, Graph]:
    """Objects and relations after each step; of what has no output, none."""
    graphs: dict[str, Graph] = {step: ([], []) for step in ("detect", "regions", "validate")}
    if "detect" in outputs:
        boxes = detections_of(outputs["detect"])
        graphs["detect"] = [(each.label or each.name, each.box) for each in boxes], []
        if regions := outputs.get("regions"):
            objects = [(each["name"], boxes[each["box"]].box) for each in regions["objects"]]
            graphs["regions"] = objects, _relations(regions["relations"])
    if (outputs.get("validate") or {}).get("scene"):
        scene = outputs["validate"]["scene"]
        objects = [(each["name"], _box(each["box"])) for each in scene["objects"]]
        graphs["validate"] = objects, _relations(scene["relations"])
    return graphs


def _box(corners: Sequence[float]) -> Box:
    x0, y0, x1, y1 = corners
    return x0, y0, x1, y1


def _relations(relations: Iterable[dict[str, Any]]) -> list[tuple[int, str, int]]:
    return [(each["subject"], each["predicate"], each["object"]) for each in relations]


def _count(counts: Counter[str], graph: Graph, true: Record) -> None:
    objects, relations = graph
    matched = _matched(objects, true)
    counts["objects true"] += len(true.objects)
    counts["objects given"] += len(objects)
    counts["objects right"] += len(matched)
    true_pairs = pairs_of(true)
    names = [thing.name for thing in true.objects]
    texts = Counter((names[s], p, names[o]) for s, p, o in true_pairs)
    # A name without its first word is right if its box is.
    called = [names[matched[i]] if i in matched else name for i, (name, _) in enumerate(objects)]
    given = Counter((called[s], p, called[o]) for s, p, o in relations)
    places = {(matched.get(s), p, matched.get(o)) for s, p, o in relations}
    for what, right, of_given, of_true in (
        ("triplets", (given & texts).total(), given.total(), texts.total()),
        ("groundings", len(places & set(true_pairs)), len(relations), len(true_pairs)),
    ):
        counts[f"{what} right"] += right
        counts[f"{what} given"] += of_given
        counts[f"{what} true"] += of_true


def _matched(objects: Sequence[tuple[str, Box]], true: Record) -> dict[int, int]:
    """The true object of each object that is right, one to one, with the most overlap in all."""
    if not objects or not true.objects:
        return {}
    fits = np.zeros((len(objects), len(true.objects)))
    for i, (name, box) in enumerate(objects):
        for j, thing in enumerate(true.objects):
            if is_short_for(name, thing.name):
                fits[i, j] = overlap(box, thing.box)
    fits[fits < OVERLAP] = 0
    rows, columns = linear_sum_assignment(-fits)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if fits[i, j] > 0}


def _figures(counts: Counter[str]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for what in ("objects", "triplets", "groundings", "actions"):
        if f"{what} true" not in counts:
            continue
        right, given, true = (counts[f"{what} {kind}"] for kind in ("right", "given", "true"))
        figures[what] = {
            "recall": right / true if true else None,
            "precision": right / given if given else None,
            "right": right,
            "given": given,
            "true": true,
        }
    return figures


def told(found: dict[str, Any], file: Path | None = None) -> str:
    """The figures as a table; also written to a file as JSON."""
    if file:
        write_text(file, json.dumps(found, indent=1) + "\n")
    lines = [f"{found['photos']:,} photos with true annotations, {found['scenes']:,} with a scene"]
    if left_out := found["left out"]:
        lines.append(f"{left_out:,} photos are left out, whose annotations are of another size")
    if of_folders := found["actions of folders"]:
        lines.append(f"{of_folders:,} scenes have the action of their video's folder")
    lines.append(
        f"{'after':<10}{'':<12}{'recall':>8}{'precision':>11}{'right':>8}{'given':>8}{'true':>8}"
    )
    for step in ("detect", "regions", "validate"):
        for what, each in found[step].items():
            if not each["given"] and step == "detect":
                continue
            shares = [
                "-" if each[name] is None else f"{each[name]:.1%}"
                for name in ("recall", "precision")
            ]
            numbers = "".join(f"{each[name]:>8,}" for name in ("right", "given", "true"))
            lines.append(f"{step:<10}{what:<12}{shares[0]:>8}{shares[1]:>11}{numbers}")
    return "\n".join(lines)
