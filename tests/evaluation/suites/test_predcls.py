"""PredCls: one image by hand, random ones against a slow direct computation, and what can be wrong."""

import numpy as np
import pytest

from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.score import triplets
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.score.triplets import NEVER, Found, triplet_ranks
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import predcls
from tests.evaluation.fakes import FakeEncoder, files, write_images, write_json


def test_ranks_by_hand():
    # Three pairs, two predicates.
    scores = np.array([[0.9, 0.1], [0.4, 0.8], [0.5, 0.5]])
    constrained, free = triplet_ranks(scores, [(0, 0), (1, 1), (1, 0), (2, 0)])
    # The pairs' candidates are .9, .8 and .5. (1, 0) is no candidate; pair 2 has a tie, so neither is.
    assert constrained.tolist() == [0, 1, NEVER, NEVER]
    # All six in order: .9 .8 .5 .5 .4 .1; of equal scores the other stands before.
    assert free.tolist() == [0, 1, 4, 3]


def test_recalls_by_hand():
    # Image 0: triplets of predicate 0 (found), 1 (too late); image 1: predicate 0 (never).
    found = [
        Found(
            np.array([0, 1]), np.array([0, 60]), np.array([5, 200]), np.array([False, True]), 100
        ),
        Found(np.array([0]), np.array([NEVER]), np.array([70]), np.array([True]), 30),
    ]
    values = {name: metric.value for name, metric in triplets.score(found, 2).items()}
    assert values["R@50"] == pytest.approx((1 / 2 + 0) / 2)
    assert values["R@100"] == pytest.approx((1 + 0) / 2)
    assert values["mR@50"] == pytest.approx(((1 + 0) / 2 + 0) / 2)
    assert values["mR@100"] == pytest.approx(((1 + 0) / 2 + 1) / 2)
    assert values["ng-R@50"] == pytest.approx((1 / 2 + 0) / 2)
    assert values["ng-R@100"] == pytest.approx((1 / 2 + 1) / 2)
    assert values["ng-mR@50"] == pytest.approx(((1 + 0) / 2 + 0) / 2)
    assert values["ng-mR@100"] == pytest.approx(((1 + 1) / 2 + 0) / 2)
    assert values["zR@50"] == 0.0
    assert values["zR@100"] == pytest.approx((1 + 0) / 2)
    chance = triplets.score(found, 2)["R@50"].chance
    assert chance == pytest.approx((50 / 100 / 2 + 1 / 2) / 2)


def slow_recalls(images, predicates, k):
    """R, ng-R and mR at k from [(scores, truth)], by sorting lists of candidates."""
    recall, free_recall, by_predicate = [], [], {}
    for scores, truth in images:
        candidates, everything = [], []
        for pair, row in enumerate(scores):
            everything += [(value, pair, p) for p, value in enumerate(row)]
            best = max(row)
            winners = [p for p, value in enumerate(row) if value == best]
            candidates.append((best, pair, winners[0] if len(winners) == 1 else None))

        def top(pool, triplet):
            own = (
                next(c for c in pool if c[1:] == triplet)
                if triplet in [c[1:] for c in pool]
                else None
            )
            return own is not None and sum(c[0] >= own[0] for c in pool) <= k

        hits = [top(candidates, each) for each in truth]
        recall.append(np.mean(hits))
        free_recall.append(np.mean([top(everything, each) for each in truth]))
        for predicate in {p for _, p in truth}:
            own = [hit for hit, (_, p) in zip(hits, truth, strict=True) if p == predicate]
            by_predicate.setdefault(predicate, []).append(np.mean(own))
    return (
        np.mean(recall),
        np.mean(free_recall),
        np.sum([np.mean(v) for v in by_predicate.values()]) / predicates,  # as OpenPSG divides
    )


@pytest.mark.parametrize("seed", range(15))
def test_recalls_agree_with_a_direct_computation(seed, monkeypatch):
    monkeypatch.setattr(triplets, "TOP", (1, 3, 8))
    draw = np.random.default_rng(seed)
    predicates, images = int(draw.integers(2, 5)), []
    for _ in range(int(draw.integers(1, 6))):
        pairs = int(draw.integers(2, 12))
        scores = draw.integers(0, 12, size=(pairs, predicates)) / 10  # with ties
        everything = [(pair, p) for pair in range(pairs) for p in range(predicates)]
        chosen = draw.permutation(len(everything))[: draw.integers(1, 8)]
        images.append((scores, [everything[i] for i in chosen]))
    found = []
    for scores, truth in images:
        kinds = np.array([p for _, p in truth])
        found.append(Found(kinds, *triplet_ranks(scores, truth), kinds < 0, len(scores)))
    values = {name: metric.value for name, metric in triplets.score(found, predicates).items()}
    for k in triplets.TOP:
        wanted = slow_recalls(images, predicates, k)
        assert (values[f"R@{k}"], values[f"ng-R@{k}"], values[f"mR@{k}"]) == pytest.approx(wanted)


def psg(relations, **changes):
    """One test image with a person, a dog and grass; one training image with a person and a dog."""
    boxes = [([0, 0, 10, 10], 0), ([20, 0, 30, 10], 1), ([0, 20, 40, 30], 2)]
    annotations = [{"bbox": box, "bbox_mode": 0, "category_id": c} for box, c in boxes]
    segments = [{"id": i, "category_id": c} for i, (_, c) in enumerate(boxes)]
    test = {
        "image_id": "7",
        "file_name": "val2017/7.jpg",
        "annotations": annotations,
        "segments_info": segments,
        "relations": relations,
    }
    train = test | {"image_id": "3", "file_name": "gone.jpg", "relations": [[0, 1, 0]]}
    return {
        "data": [test, train],
        "test_image_ids": ["7"],
        "predicate_classes": ["Feeding", "on"],
        "thing_classes": ["person", "dog"],
        "stuff_classes": ["grass"],
    } | changes


class PairEncoder(FakeEncoder):
    """Embeds a focused region by which of the two triplets it should prefer."""

    def images(self, pictures, level):
        assert level == "relation"
        self.asked += pictures
        return np.array([self._pictures[p.keep] for p in pictures], np.float32)


def encoder():
    person, dog, grass = (0.0, 0, 10, 10), (20.0, 0, 30, 10), (0.0, 20, 40, 30)
    # First axis: feeding; second: on. Rotated away from both, a pair is less sure.
    regions = {
        (person, dog): [1, 0, 0],
        (grass, dog): [0.1, 1, 0.2],
        (person, grass): [1, 0.9, 1],
    }
    names = ("person", "dog", "grass")
    texts = {f"{s} feeding {o}": [1, 0, 0] for s in names for o in names}
    texts |= {f"{s} on {o}": [0, 1, 0] for s in names for o in names}
    return PairEncoder(regions, texts)


def test_psg_from_the_file(tmp_path):
    write_images(tmp_path / "images", "val2017/7.jpg")
    # True: person feeding dog (also in training), dog on grass (unseen), person on grass (the model says
    # feeding). The first stands twice.
    content = psg([[0, 1, 0], [1, 2, 1], [0, 2, 1], [0, 1, 0]])
    path = write_json(tmp_path / "psg.json", content)
    result = predcls.evaluate(encoder(), files(path), Settings())
    values = result.values()
    assert values["R@20"] == pytest.approx(2 / 3)
    assert values["ng-R@20"] == 1.0
    assert values["mR@20"] == pytest.approx((1 + 1 / 2) / 2)
    assert values["zR@20"] == pytest.approx(1 / 2)  # dog on grass, not person on grass
    assert result.counts["true triplets"] == 3
    assert result.skips.summary()["triplet stands twice in its image"]["count"] == 1
    table = result.confusions["predicates of true pairs"]
    assert table.names == ["on", "feeding"]
    assert table.counts.tolist() == [[1, 1], [0, 1]]
    assert result.bars["the pair's best predicate is the true one"]["on"] == (0.5, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (psg([[0, 3, 0]]), r"data\[0\] relations\[0\]: \[0, 3, 0\]; expected"),
        (psg([[0, 1, 5]]), r"p below 2"),
        (psg([]), "no test image with a relation"),
        (psg([[0, 1, 0]], predicate_classes=["on"]), "nothing to tell apart"),
        (psg([[0, 1, 0]], thing_classes=[], stuff_classes=["x"]), r"category_id 1 of 1 classes"),
        ({"data": []}, "no field 'test_image_ids'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, message):
    write_images(tmp_path / "images", "val2017/7.jpg")
    path = write_json(tmp_path / "psg.json", content)
    with pytest.raises(SuiteError, match=message):
        predcls.evaluate(encoder(), files(path), Settings())


def moved(index, box):
    content = psg([[0, 1, 0], [1, 2, 1], [0, 2, 1]])
    content["data"][0]["annotations"][index]["bbox"] = box
    return content


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([5000, 0, 5010, 10], "its box lies outside of its picture"),
        ([-30, 0, 0, 10], "its box lies outside of its picture"),
        ([30, 0, 20, 10], "its box is inverted"),
    ],
)
def test_objects_outside_of_their_picture_are_left_out_with_their_triplets(tmp_path, box, reason):
    """They have no pixels, so any score of theirs would be of black."""
    write_images(tmp_path / "images", "val2017/7.jpg")
    path = write_json(tmp_path / "psg.json", moved(1, box))
    result = predcls.evaluate(encoder(), files(path), Settings())
    assert result.counts["true triplets"] == 1  # person on grass
    skips = result.skips.summary()
    assert skips[reason]["count"] == 1
    assert "annotations[1]" in skips[reason]["such_as"][0]
    assert skips["triplet of an object without a box in its picture"]["count"] == 2


def test_no_object_within_its_picture_is_an_error(tmp_path):
    write_images(tmp_path / "images", "val2017/7.jpg")
    content = psg([[0, 1, 0]])
    for each in content["data"][0]["annotations"]:
        each["bbox"] = [5000, 0, 5010, 10]
    path = write_json(tmp_path / "psg.json", content)
    with pytest.raises(SuiteError, match="boxes that lie in its picture"):
        predcls.evaluate(encoder(), files(path), Settings())


def test_boxes_that_reach_beyond_their_picture_are_counted(tmp_path):
    write_images(tmp_path / "images", "val2017/7.jpg")
    path = write_json(tmp_path / "psg.json", moved(1, [20, 0, 5000, 10]))
    result = Result({}, {}, "", "")
    scenes, *_ = predcls.read(files(path), result)
    assert len(scenes[0].truth) == 3
    (reason,) = [each for each in result.skips.summary() if "reaches beyond" in each]
    assert result.skips.summary()[reason]["count"] == 1
