"""The stage `detect`: a zero-shot detector finds the objects that the caption names."""

import dataclasses
from collections.abc import Iterable, Iterator

from scenarioclip_jax.annotate.models.detections import Detection
from scenarioclip_jax.annotate.models.protocols import Detector
from scenarioclip_jax.annotate.settings import Settings
from scenarioclip_jax.annotate.stage import Done, Output, Stage, Task
from scenarioclip_jax.annotate.stages.caption import caption_of
from scenarioclip_jax.words.names import prompts


def detections_of(output: Output) -> list[Detection]:
    """The boxes of an output of this stage."""
    return [
        Detection(box["name"], tuple(box["box"]), box["score"], box.get("label", ""))
        for box in output["boxes"]
    ]


def _detector(settings: Settings) -> Detector:
    if settings.of_truth("detect"):
        from scenarioclip_jax.annotate.models.truth import Truth

        return Truth(settings.truth)
    from scenarioclip_jax.annotate.models.detector import ZeroShotDetector

    return ZeroShotDetector(settings.detect)


def _run(tasks: Iterable[Task], settings: Settings) -> Iterator[Done]:
    requests = ((task.photo, prompts(caption_of(task.read("caption")).objects)) for task in tasks)
    for answer in _detector(settings).detect(requests):
        result = answer.result
        yield Done(answer.id, _output(result) if isinstance(result, list) else result)


def _output(detections: list[Detection]) -> Output:
    boxes = [dataclasses.asdict(each) for each in detections]
    for box in boxes:
        box["box"] = [round(value, 2) for value in box["box"]]
        box["score"] = round(box["score"], 4)
        if not box["label"]:
            del box["label"]
    return {"boxes": boxes}


DETECT = Stage(
    "detect",
    1,
    "a detector finds the objects by their names",
    _run,
    lambda settings: "" if settings.of_truth("detect") else "detect",
)
