"""Visual Genome with the community's 150 classes, 50 predicates and split: PredCls and SGCls of given boxes.

    DIR/VG-SGG.h5          split, labels, boxes_1024, relationships, predicates, …; or VG-SGG-with-attri.h5
    DIR/VG-SGG-dicts.json  the words; or VG-SGG-dicts-with-attri.json
    DIR/image_data.json    the photos, in the order of the first

(Xu et al. 2017; reading HDF5 needs the extra `vg150`.) All ordered pairs of a test photo's boxes are ranked,
and recalls are those of `predcls`:

    predcls    names are given; a pair is ranked by the cosine of its focused region with the text `subject
               predicate object`
    sgcls      a box gets the nearest of the 150 names, at `config.object_levels`; a pair is ranked by 100 times
               that cosine, with the names found, plus the logarithms of their softmax, again of 100 times the
               cosines

A triplet is found by a pair that has its three labels and whose boxes overlap its own by 0.5 (IoU, of boxes
that have their last pixels) or more, as in Scene-Graph-Benchmark. One that stands twice counts twice. `zR` is
over triplets that no training or validation photo has.
"""

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder, by_levels
from scenarioclip_jax.evaluation.files import Files
from scenarioclip_jax.evaluation.score import coco_ap
from scenarioclip_jax.evaluation.score.result import Metric, Result, by_class
from scenarioclip_jax.evaluation.score.triplets import (
    Found,
    ImageTriplets,
    matching_pairs,
    score,
    triplet_ranks,
)
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.predcls import TextMemo, pair_scores
from scenarioclip_jax.evaluation.suites.registry import Suite
from scenarioclip_jax.evaluation.suites.vg150_files import Task, read

PROTOCOL = (
    "All ordered pairs of the annotated boxes, by their focused region; for SGCls with the nearest name of "
    "each box, whose certainty counts. Recall@K: per photo, then the mean over photos; mean recall: by "
    "predicate, then over all 50. A triplet is found by three equal labels and boxes that overlap by 0.5 (IoU) "
    "or more. A tie is wrong."
)


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores both tasks; raises SuiteError if a file is malformed or no test photo is left."""
    levels = f"{name_of(settings.relation_levels)}, names by {name_of(settings.object_levels)}"
    result = Result({}, {}, levels, PROTOCOL)
    task = read(files, result)
    texts = settings.prompted(task.names)
    words = normalize(by_levels(encoder.texts, texts, settings.object_levels))
    memo = TextMemo(encoder)
    found: dict[str, list[Found]] = {"predcls": [], "sgcls": []}
    rights, labels, photo_of = [], [], []
    ties = 0
    for number, scene in enumerate(task.scenes):
        cosines = _names(encoder, scene, words, settings)
        nearest = cosines.argmax(axis=1)
        best = (cosines == cosines.max(axis=1, keepdims=True)).sum(axis=1)  # 0 of what is NaN
        predicted = np.where(best == 1, nearest, -1)  # -1: no label of any object
        ties += int((best > 1).sum())
        sure = np.log(np.maximum(coco_ap.probabilities(cosines).max(axis=1), 1e-300))
        rights += (predicted == np.array(scene.categories)).tolist()
        labels += scene.labels
        photo_of += [number] * len(scene.labels)
        own, _ = pair_scores(encoder, memo, scene, task.predicates, settings.relation_levels)
        found["predcls"].append(_found(scene, own, task, None))
        named = scene._replace(labels=[task.names[each] for each in nearest])
        other, _ = pair_scores(encoder, memo, named, task.predicates, settings.relation_levels)
        weights = np.array([sure[s] + sure[o] for s, o in scene.pairs])[:, None]
        found["sgcls"].append(
            _found(scene, coco_ap.SCALE * other.astype(np.float64) + weights, task, predicted)
        )
    for name, each in found.items():
        metrics = score(each, len(task.predicates), chances=False)
        result.metrics |= {f"{name}/{key}": metric for key, metric in metrics.items()}
    hits = np.array(rights, float)
    result.metrics["objects/accuracy"] = Metric(
        hits, None, np.array(photo_of), chance=1 / len(task.names)
    )
    result.bars["names of boxes"] = by_class(labels, hits)
    result.ties["names of boxes"] = ties
    result.choices["prompt of object names"] = settings.prompt
    result.counts = {
        "photos": len(task.scenes),
        "boxes": len(hits),
        "true triplets": sum(len(scene.truth) for scene in task.scenes),
        "training triplets known": len(task.known),
    }
    return result


def _names(
    encoder: Encoder, scene: ImageTriplets, words: np.ndarray, settings: Settings
) -> np.ndarray:
    """Cosines [N, C] of the boxes with the names; of several levels the largest."""
    regions = [scene.picture._replace(keep=(box,)) for box in scene.boxes]
    images = normalize(by_levels(encoder.images, regions, settings.object_levels))
    return np.einsum("vnd,vcd->vnc", images, words).max(axis=0)


def _found(
    scene: ImageTriplets, scores: np.ndarray, task: Task, predicted: np.ndarray | None
) -> Found:
    """The ranks of a photo's true triplets.

    Args:
      scores: Of all pairs with all predicates, [M, P].
      predicted: Indices of the names that the boxes get; None for their own.
    """
    place = {pair: at for at, pair in enumerate(scene.pairs)}
    truth = [(place[s, o], p) for s, o, p in scene.truth]
    # The last pixels belong to the boxes.
    wider = [(x0, y0, x1 + 1, y1 + 1) for x0, y0, x1, y1 in scene.boxes]
    matches = matching_pairs(scene._replace(boxes=wider), predicted)
    constrained, free = triplet_ranks(scores, truth, matches)
    kinds = np.array([p for _, p in truth])
    unseen = [(scene.labels[s], p, scene.labels[o]) not in task.known for s, o, p in scene.truth]
    return Found(kinds, constrained, free, np.array(unseen), len(place))


_FILES = "VG-SGG.h5, VG-SGG-dicts.json and image_data.json; images: VG_100K, or the folder of its two parts"
SUITES = (Suite("vg150", evaluate, read, path="folder", files=_FILES),)
