"""Interactions of people with objects, of given boxes, without training: HICO-DET and SWiG-HOI.

    hico_det  (Chao et al. 2018)   DIR/test_hico.json, DIR/trainval_hico.json as PPDM and QPIC have them
              [{file_name, img_id, annotations: [{bbox: [x0, y0, x1, y1], category_id}],
                hoi_annotation: [{subject_id, object_id, category_id}]}]
    swig_hoi  (Wang et al. 2021)   DIR/swig_test_1000.json, and DIR/swig_v1_categories.py with the names
              [{file_name, img_id, box_annotations: [{bbox, category_id}],
                hoi_annotations: [{subject_id, object_id, action_id}]}]

Boxes are those of the annotations with their classes, or those in `config.SUITE.proposals`, which have a
`category_id` of the annotations' and the `img_id` as `image_id`. Of boxes of one class that overlap by more
than half, the surest remains. Each person is paired with each other box, and their focused region is compared
with "a photo of a person riding a bicycle" for all interactions with an object of that class. A score is the
softmax of 100 times the cosines, times the scores of both boxes.

`mAP` is the mean over interactions, by `evaluation.score.interactions`. Rare ones of HICO-DET have fewer than
10 examples in the training file; without that file they aren't told apart. `known_mAP` (HICO-DET with
proposals) looks at photos with an object of the class only. SWiG's interactions are those that its file of
names marks for evaluation; how frequent they are stands there, too.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, SuiteError
from scenarioclip_jax.evaluation.score import coco_ap
from scenarioclip_jax.evaluation.score.boxes import overlaps, strongest
from scenarioclip_jax.evaluation.score.interactions import Detections, average_precision
from scenarioclip_jax.evaluation.score.result import Example, Metric, Result
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites import hoi_files
from scenarioclip_jax.evaluation.suites.hoi_files import BoxedPhoto, Task
from scenarioclip_jax.evaluation.suites.registry import Suite

PROTOCOL = (
    "Every person with every other box, by the focused region of both. A detection is right where both of its "
    "boxes overlap a true pair's by 0.5 (IoU) or more, which no surer one has. Average precision at eleven "
    "recalls; mean over interactions, and the interval is over them."
)
SHOWN = 6


class Pair(NamedTuple):
    """A person and another box of a scene, by their rows."""

    person: int
    other: int


def evaluate(
    encoder: Encoder, files: Files, settings: Settings, read: Callable[..., Task], inclusive: bool
) -> Result:
    """Scores one of the benchmarks; raises SuiteError if a file is malformed or an image is missing."""
    result = Result({}, {}, name_of(settings.relation_levels), PROTOCOL)
    task = read(files, result)
    result.choices["prompt"] = settings.prompt
    texts = settings.prompted([each.text for each in task.interactions])
    words = normalize(by_levels(encoder.texts, texts, settings.relation_levels))
    of_object: dict[int, list[int]] = {}
    for at, each in enumerate(task.interactions):
        of_object.setdefault(each.object, []).append(at)
    scenes = [_without_doubles(scene) for scene in task.scenes]
    pairs = [list(_pairs(scene, task.person, of_object)) for scene in scenes]
    regions = [
        _region(scene, pair) for scene, own in zip(scenes, pairs, strict=True) for pair in own
    ]
    if not regions:
        raise SuiteError(
            f"{files.path}: no photo has boxes of a person and of an object of a class"
        )
    images = normalize(by_levels(encoder.images, regions, settings.relation_levels))
    found: list[list[tuple[Any, np.ndarray, float]]] = [[] for _ in task.interactions]
    first = 0
    for scene, own in zip(scenes, pairs, strict=True):
        for pair in own:
            columns = of_object[int(scene.categories[pair.other])]
            cosines = np.einsum("vd,vcd->vc", images[:, first], words[:, columns]).max(axis=0)
            likely = coco_ap.probabilities(cosines[None])[0]
            weight = scene.scores[pair.person] * scene.scores[pair.other]
            both = np.concatenate([scene.boxes[pair.person], scene.boxes[pair.other]])
            for column, score in zip(columns, likely * weight, strict=True):
                found[column].append((scene.number, both, float(score)))
            first += 1
    _measure(result, task, [_stacked(each) for each in found], inclusive)
    result.counts |= {"photos": len(scenes), "pairs": len(regions)}
    _show(result, task, scenes, found)
    return result


def _measure(result: Result, task: Task, found: list[Detections], inclusive: bool) -> None:
    """Adds the mean precisions."""
    truth = [
        {photo: np.stack(pairs) for photo, pairs in of_class.items()} for of_class in task.truth
    ]
    chosen = [at for at, of_class in enumerate(truth) if of_class]
    if absent := len(truth) - len(chosen):
        result.notes.append(f"{absent:,} interactions have no true pair and aren't in the means")
    values = np.array([average_precision(truth[i], found[i], inclusive=inclusive) for i in chosen])
    groups = np.array([task.interactions[i].group for i in chosen], object)
    result.metrics["mAP"] = Metric(values)
    for group in dict.fromkeys(each for each in groups if each):
        result.metrics[f"{group}/mAP"] = Metric(values[groups == group])
    result.counts |= {
        "interactions": len(chosen),
        "true pairs": sum(len(pairs) for each in truth for pairs in each.values()),
    }
    if not task.known:
        return
    known = [
        average_precision(
            truth[i],
            _within(found[i], task.with_object[task.interactions[i].object]),
            inclusive=inclusive,
        )
        for i in chosen
    ]
    result.metrics["known_mAP"] = Metric(np.array(known))


def _within(found: Detections, photos: set) -> Detections:
    """The detections in some photos."""
    rows = [row for row, photo in enumerate(found.photos) if photo in photos]
    return Detections([found.photos[i] for i in rows], found.pairs[rows], found.scores[rows])


def _stacked(found: Sequence[tuple[Any, np.ndarray, float]]) -> Detections:
    pairs = np.array([both for _, both, _ in found], float).reshape(-1, 8)
    scores = np.array([score for *_, score in found], float)
    return Detections([photo for photo, *_ in found], pairs, scores)


def _without_doubles(scene: BoxedPhoto) -> BoxedPhoto:
    """The scene with one box of those of a class that overlap by more than half."""
    alike = (overlaps(scene.boxes, scene.boxes) > coco_ap.OVERLAP) & (
        scene.categories[:, None] == scene.categories
    )
    kept = strongest(alike, scene.scores)
    return scene._replace(
        boxes=scene.boxes[kept], categories=scene.categories[kept], scores=scene.scores[kept]
    )


def _pairs(scene: BoxedPhoto, person: int, known: dict[int, list[int]]) -> Iterable[Pair]:
    """All pairs of a person and another box of a class that has interactions."""
    for one in np.flatnonzero(scene.categories == person).tolist():
        for two, category in enumerate(scene.categories.tolist()):
            if one != two and category in known:
                yield Pair(one, two)


def _region(scene: BoxedPhoto, pair: Pair) -> Picture:
    return scene.picture._replace(keep=tuple(tuple(scene.boxes[row].tolist()) for row in pair))


def _show(
    result: Result,
    task: Task,
    scenes: list[BoxedPhoto],
    found: list[list[tuple[Any, np.ndarray, float]]],
) -> None:
    """Adds the surest detections in photos that don't have their interaction."""
    pictures = {scene.number: scene.picture for scene in scenes}
    wrong = [
        (score, at, photo, both)
        for at, of_class in enumerate(found)
        for photo, both, score in of_class
        if photo not in task.truth[at]
    ]
    wrong.sort(key=lambda each: -each[0])
    result.examples["surest failures"] = [
        Example(
            pictures[photo]._replace(keep=(tuple(both[:4].tolist()), tuple(both[4:].tolist()))),
            f"taken for: {task.interactions[at].text}",
            False,
        )
        for _, at, photo, both in wrong[:SHOWN]
    ]


def _suite(name: str, read: Callable[..., Task], inclusive: bool, files: str) -> Suite:
    def evaluate_this(encoder: Encoder, given: Files, settings: Settings) -> Result:
        return evaluate(encoder, given, settings, read, inclusive)

    return Suite(name, evaluate_this, read, path="folder or file", files=files)


SUITES = (
    _suite(
        "hico_det",
        hoi_files.read_hico,
        True,
        "test_hico.json and trainval_hico.json, or the first; images: test2015",
    ),
    _suite(
        "swig_hoi",
        hoi_files.read_swig,
        False,
        "swig_test_1000.json and swig_v1_categories.py; images: images_512",
    ),
)
