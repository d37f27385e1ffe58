"""The stage `regions`: joins the caption's triplets with the detector's boxes."""

from collections.abc import Iterable, Iterator

from scenarioclip_jax.annotate.grounding import Grounding, ground
from scenarioclip_jax.annotate.settings import Settings
from scenarioclip_jax.annotate.stage import Done, Output, Stage, Task
from scenarioclip_jax.annotate.stages.caption import caption_of
from scenarioclip_jax.annotate.stages.detect import detections_of


def _run(tasks: Iterable[Task], settings: Settings) -> Iterator[Done]:
    for task in tasks:
        caption = caption_of(task.read("caption"))
        boxes = detections_of(task.read("detect"))
        grounding = ground(caption, boxes, task.photo.size, settings.regions)
        yield Done(task.photo.id, _output(grounding))


def _output(grounding: Grounding) -> Output:
    """Objects by their boxes' numbers in `detect`; relations by the objects' numbers here."""
    numbers = {box: number for number, box in enumerate(grounding.objects)}
    return {
        "objects": [{"box": box, "name": name} for box, name in grounding.objects.items()],
        "relations": [
            {
                "subject": numbers[each.subject],
                "predicate": each.predicate,
                "object": numbers[each.object],
                "fit": round(each.fit, 4),
            }
            for each in grounding.relations
        ],
        "dropped": [[list(each.triplet), each.reason] for each in grounding.dropped],
    }


REGIONS = Stage("regions", 1, "triplets are joined with boxes", _run)
