"""The stage `validate`: leaves out what is doubtful, and says what and why; the rest is the scene."""

from collections.abc import Iterable, Iterator
from typing import Any

from scenarioclip_jax.annotate.models.detections import Box
from scenarioclip_jax.annotate.settings import Settings, ValidateSettings
from scenarioclip_jax.annotate.stage import Done, Output, Stage, Task
from scenarioclip_jax.annotate.stages.caption import caption_of
from scenarioclip_jax.annotate.stages.detect import detections_of
from scenarioclip_jax.annotate.stages.negatives import NEGATIVES
from scenarioclip_jax.annotate.stages.segment import masks_of
from scenarioclip_jax.annotate.stages.verify import VERIFY


def _run(tasks: Iterable[Task], settings: Settings) -> Iterator[Done]:
    for task in tasks:
        yield Done(task.photo.id, scene_of(task, settings))


def scene_of(task: Task, all_settings: Settings) -> Output:
    """The scene of a photo, in fields of docs/guides/format.md, and what was left out.

    Returns:
      `scene`, or None if it has too little; `removed`, a list of filter and detail.
    """
    caption = caption_of(task.read("caption"))
    boxes, masks = detections_of(task.read("detect")), masks_of(task.read("segment"))
    settings, regions = all_settings.validate, task.read("regions")
    removed = [[f"relation_{why}", " ".join(triplet)] for triplet, why in regions["dropped"]]
    made = task.read(VERIFY.name if VERIFY.is_on(all_settings) else NEGATIVES.name)
    texts = made["relations"]
    removed += made.get("removed", [])
    kept: dict[int, int] = {}  # positions in `objects` by those in the regions
    objects: list[dict[str, Any]] = []
    for number, each in enumerate(regions["objects"]):
        found = boxes[each["box"]]
        if why := _doubt(found.box, found.score, task.photo.size, settings):
            removed.append([f"object_{why[0]}", f"{each['name']}: {why[1]}"])
            continue
        kept[number] = len(objects)
        thing = {"name": each["name"], "box": list(found.box), "score": found.score}
        if masks:
            mask = masks[each["box"]]
            thing["mask"] = {"size": list(mask.size), "counts": mask.counts}
        objects.append(thing)
    relations = []
    for relation, more in zip(regions["relations"], texts, strict=True):
        ends = [kept.get(relation["subject"]), kept.get(relation["object"])]
        if None in ends:
            names = [regions["objects"][relation[end]]["name"] for end in ("subject", "object")]
            removed.append(
                ["relation_without_object", f"{names[0]} {relation['predicate']} {names[1]}"]
            )
            continue
        values = {"subject": ends[0], "predicate": relation["predicate"], "object": ends[1]}
        relations.append(values | {name: value for name, value in more.items() if value})
    for what, found, least in (
        ("objects", objects, settings.min_objects),
        ("relations", relations, settings.min_relations),
    ):
        if len(found) < least:
            removed.append([f"scene_few_{what}", f"{len(found)} of at least {least}"])
            return {"scene": None, "removed": removed}
    scene: dict[str, Any] = {}
    if caption.action:
        scene["action"] = caption.action
    if caption.caption:
        scene["captions"] = [caption.caption]
    scene |= {"objects": objects, "relations": relations}
    return {"scene": scene, "removed": removed}


def _doubt(
    box: Box, score: float, size: tuple[int, int], settings: ValidateSettings
) -> tuple[str, str] | None:
    """The filter that a box doesn't pass, and the figure."""
    width, height = box[2] - box[0], box[3] - box[1]
    area = width * height / (size[0] * size[1])
    aspect = max(width, height) / max(min(width, height), 1e-9)
    if score < settings.min_score:
        return "score", f"score {score:.3f} below {settings.min_score}"
    if area < settings.min_area:
        return "small", f"area {area:.5f} of the photo below {settings.min_area}"
    if area > settings.max_area:
        return "large", f"area {area:.3f} of the photo above {settings.max_area}"
    if aspect > settings.max_aspect:
        return "aspect", f"sides {aspect:.1f} to 1 above {settings.max_aspect}"
    return None


VALIDATE = Stage("validate", 1, "doubtful boxes, relations and scenes are left out", _run)
