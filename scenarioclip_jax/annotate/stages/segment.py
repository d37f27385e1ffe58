"""The stage `segment`: a segmenter finds the mask of each box."""

from collections.abc import Iterable, Iterator

from scenarioclip_jax.annotate.models.protocols import Segmenter
from scenarioclip_jax.annotate.results import Mask
from scenarioclip_jax.annotate.settings import Settings
from scenarioclip_jax.annotate.stage import Done, Output, Stage, Task
from scenarioclip_jax.annotate.stages.detect import detections_of


def masks_of(output: Output) -> list[Mask]:
    """The masks of an output of this stage, in the order of the boxes; empty where there are none."""
    return [
        Mask((mask["size"][0], mask["size"][1]), mask["counts"], mask["score"])
        for mask in output["masks"]
    ]


def _segmenter(settings: Settings) -> Segmenter:
    if settings.of_truth("segment"):
        from scenarioclip_jax.annotate.models.truth import Truth

        return Truth(settings.truth)
    from scenarioclip_jax.annotate.models.segmenter import BoxSegmenter

    return BoxSegmenter(settings.segment)


def _run(tasks: Iterable[Task], settings: Settings) -> Iterator[Done]:
    if not settings.segment.model:
        yield from (Done(task.photo.id, {"masks": []}) for task in tasks)
        return
    requests = (
        (task.photo, [each.box for each in detections_of(task.read("detect"))]) for task in tasks
    )
    for answer in _segmenter(settings).segment(requests):
        result = answer.result
        yield Done(answer.id, _output(result) if isinstance(result, list) else result)


def _output(masks: list[Mask]) -> Output:
    return {
        "masks": [
            {"size": list(mask.size), "counts": mask.counts, "score": round(mask.score, 4)}
            for mask in masks
        ]
    }


SEGMENT = Stage(
    "segment",
    1,
    "a segmenter finds the mask of each box",
    _run,
    lambda settings: (
        "segment" if settings.segment.model and not settings.of_truth("segment") else ""
    ),
)
