"""Zero-shot, hard negatives and the linear probe on small splits, by hand."""

import json

import numpy as np
import pytest

from scenarioclip_jax.data.stored.scene import negative_kind
from scenarioclip_jax.evaluation.files import SuiteError, UnsupportedError
from scenarioclip_jax.evaluation.score.probe import Labeled, fit
from scenarioclip_jax.evaluation.score.zero_shot import zero_shot as training_zero_shot
from scenarioclip_jax.evaluation.settings import ProbeSettings, Settings
from scenarioclip_jax.evaluation.suites import hard_negatives, linear_probe, retrieval, zero_shot
from tests import golden
from tests.evaluation.fakes import FakeData, FakeEncoder

TEXTS = {"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1]}
# Photo q has a b and a c; its first crop looks like c, its second like a.
ROWS = [([3, 1, 0], "a", "p"), ([0, 1, 2], "b", "q"), ([5, 0, 1], "c", "q"), ([1, 0, 0], "a", "p")]


def test_zero_shot_under_both_rules_micro_and_macro():
    data = FakeData({"test": {"object": ROWS}}, {"object": ["a", "b", "c"]})
    result = zero_shot.evaluate(FakeEncoder({}, TEXTS), data, Settings())
    values = result.values()
    assert values["object/top1"] == pytest.approx(2 / 4)
    assert values["object/any_label_top1"] == pytest.approx(3 / 4)
    assert values["object/macro_top1"] == pytest.approx((1 + 0 + 0) / 3)
    assert values["object/macro_any_label_top1"] == pytest.approx((1 + 1 + 0) / 3)
    assert values["object/top10"] == 1.0  # k is capped at three classes
    assert result.metrics["object/top1"].chance == pytest.approx(1 / 3)
    # The same as during training.
    columns = list(zip(*ROWS, strict=True))
    classes = np.array(list(TEXTS.values()), float)
    other = training_zero_shot(np.array(columns[0]), list(TEXTS), classes, columns[1], columns[2])
    for name in ("top1", "top5", "any_label_top1", "macro_top1"):
        assert values[f"object/{name}"] == pytest.approx(other[name])


class OneAction(FakeData):
    """Data with a single action."""

    def classes(self, level):
        if level == "global":
            raise UnsupportedError("actions lists one class")
        return super().classes(level)


def test_a_level_of_one_class_leaves_the_other_levels_alone():
    rows = {"global": [([1, 0, 0], "a", "p")], "object": ROWS}
    splits = dict.fromkeys(("train", "validation", "test"), rows)
    data = OneAction(splits, {"object": ["a", "b", "c"]})
    result = zero_shot.evaluate(FakeEncoder({}, TEXTS), data, Settings())
    assert result.values()["object/top1"] == pytest.approx(2 / 4)
    assert not any(name.startswith("global") for name in result.metrics)
    assert "level of one class, nothing to tell apart" in result.skips.summary()
    data = OneAction({"test": {"global": rows["global"]}}, {})
    with pytest.raises(UnsupportedError, match="no level has more than one class"):
        zero_shot.evaluate(FakeEncoder({}, TEXTS), data, Settings())


def test_a_probe_without_a_validation_split_is_refused_before_anything_is_embedded():
    data = FakeData({"train": {"object": ROWS}, "test": {"object": [([1, 0, 0], "a", "r")]}}, {})
    with pytest.raises(UnsupportedError, match="no validation split"):
        linear_probe.evaluate(FakeEncoder({}, TEXTS), data, Settings())
    assert not data.opened


def test_the_reference_figures():
    meta = json.loads((golden.FOLDER / "zero_shot.json").read_text())
    arrays = golden.arrays("zero_shot")
    images, classes = arrays["crop_image_embeddings"], arrays["class_text_embeddings"]
    labels = [
        (name, str(photo)) for photo, names in enumerate(meta["labels_per_image"]) for name in names
    ]
    rows = [(x, name, photo) for x, (name, photo) in zip(images, labels, strict=True)]
    data = FakeData({"test": {"object": rows}}, {"object": meta["classes"]})
    encoder = FakeEncoder({}, dict(zip(meta["classes"], classes, strict=True)))
    values = zero_shot.evaluate(encoder, data, Settings()).values()
    for k in (1, 5, 10):
        figures = meta["results"][f"top{k}"]
        assert values[f"object/top{k}"] == pytest.approx(figures["strict"])
        assert values[f"object/any_label_top{k}"] == pytest.approx(figures["any_label_of_image"])


def test_zero_shot_prompts_and_predicates():
    assert Settings(prompt="A Photo  of {}").prompted(["dog"]) == ["a photo of dog"]
    triplets = [("man", "on", "horse"), ("man", "under", "tree")]
    texts = {"man on horse": [1, 0], "man under tree": [0, 1]}
    rows = [([1, 0], "man on horse", "p"), ([1, 0.1], "man under tree", "p")]
    data = FakeData({"test": {"relation": rows}}, {"relation": list(texts)}, triplets)
    encoder = FakeEncoder({}, {f"a photo of {text}": x for text, x in texts.items()})
    result = zero_shot.evaluate(encoder, data, Settings(prompt="a photo of {}"))
    table = result.confusions["predicates"]
    assert table.names == ["on", "under"]
    assert table.counts.tolist() == [[1, 0], [1, 0]]
    assert result.bars["relation: strict top-1 by predicate"]["under"] == (0.0, 1)


def test_hard_negatives_by_kind():
    own = ("man", "rides", "horse")
    kinds = {
        ("horse", "rides", "man"): "swapped ends",
        ("man", "feeds", "horse"): "other predicate",
        ("man", "rides", "cow"): "other object",
        ("dog", "rides", "horse"): "other subject",
        ("dog", "feeds", "horse"): "other",
    }
    for negative, kind in kinds.items():
        assert hard_negatives.KINDS[negative_kind(own, negative)] == kind
    # The picture is at (1, 0): the first relation beats its swap and loses to another predicate; the second
    # ties with its one negative; the third beats both objects, but one of its negatives is itself.
    texts = {"man rides horse": [1, 0.2], "horse rides man": [0, 1], "man feeds horse": [1, 0.1]}
    texts |= {"a b c": [1, 1], "c b a": [1, 1], "x y z": [1, 0], "x y w": [0, 1], "x y v": [1, 2]}
    triplets = [own, ("a", "b", "c"), ("x", "y", "z")]
    negatives = [
        [("horse", "rides", "man"), ("man", "feeds", "horse")],
        [("c", "b", "a")],
        [("x", "y", "w"), ("x", "y", "v"), ("x", "y", "z")],
    ]
    rows = [([1, 0], " ".join(t), photo) for t, photo in zip(triplets, "ppq", strict=True)]
    data = FakeData({"test": {"relation": rows}}, {}, triplets, negatives)
    result = hard_negatives.evaluate(FakeEncoder({}, texts), data, Settings())
    assert result.values() == pytest.approx(
        {"all": 1 / 3, "swapped ends": 1 / 2, "other predicate": 0.0, "other object": 1.0}
    )
    assert result.metrics["all"].chance == pytest.approx((1 / 3 + 1 / 2 + 1 / 3) / 3)
    assert result.counts == {"relations with negatives": 3, "negatives": 5}
    assert result.bars["swapped ends beaten, by predicate"] == {"rides": (1.0, 1), "b": (0.0, 1)}
    assert result.bars["other object beaten, by predicate"] == {"y": (1.0, 1)}
    reason = "negative stands twice or is the relation's own triplet"
    assert result.skips.summary()[reason]["count"] == 1
    data = FakeData({"test": {"relation": rows}}, {}, triplets, [[], [], []])
    with pytest.raises(SuiteError, match="no relation of the test split has a negative"):
        hard_negatives.evaluate(FakeEncoder({}, texts), data, Settings())


def clusters(draw, count, noise=0.3):
    labels = draw.integers(3, size=count)
    x = np.eye(3)[labels] + noise * draw.normal(size=(count, 3))
    return Labeled(x.astype(np.float32), labels)


def test_the_probe_learns_and_chooses_on_validation():
    draw = np.random.default_rng(0)
    train, validation, test = (clusters(draw, n) for n in (300, 100, 200))
    settings = ProbeSettings(rates=(1e-5, 1e-2), decays=(0.0,), epochs=8, batch_size=64)
    probe = fit(train, validation, 3, settings, seed=0)
    assert probe.choices["rate"] == 1e-2
    assert np.mean(probe.ranks(test) < 1) > 0.9
    assert np.mean(probe.ranks(validation) < 1) == probe.choices["validation top1"]
    again = fit(train, validation, 3, settings, seed=0)
    np.testing.assert_array_equal(again.weights, probe.weights)
    # Validation that rewards the opposite of what is learned makes it choose the earliest and slowest.
    wrong = validation._replace(labels=(validation.labels + 1) % 3)
    other = fit(train, wrong, 3, settings, seed=0)
    assert other.choices != probe.choices


def test_unknown_classes_and_ties_are_wrong_for_the_probe():
    probe = fit(
        clusters(np.random.default_rng(0), 30), clusters(np.random.default_rng(1), 30), 3,
        ProbeSettings(rates=(0.01,), decays=(0.0,), epochs=1), seed=0,
    )  # fmt: skip
    probe = probe._replace(weights=np.zeros((3, 3)), bias=np.array([0.0, 0.0, -1.0]))
    data = Labeled(np.zeros((3, 3), np.float32), np.array([0, 2, -1]))
    assert probe.ranks(data).tolist() == [1, 2, 3]


def probe_data(test_label="a", shift=0.0):
    draw = np.random.default_rng(0)

    def rows(name, count, offset=0.0):
        found = []
        for i in range(count):
            x = np.eye(2)[i % 2] + 0.1 * draw.normal(size=2) + offset
            found.append((x, "ab"[i % 2], f"{name}{i}"))
        return found

    test = [*rows("test", 10, shift), ([1, 0], test_label, "test-last")]
    splits = {"train": rows("train", 40), "validation": rows("validation", 20), "test": test}
    return FakeData({name: {"object": found} for name, found in splits.items()}, {})


PROBE = Settings(probe=ProbeSettings(rates=(1e-2,), decays=(0.0,), epochs=3))


def test_the_probe_never_sees_the_test_split():
    data = probe_data()
    result = linear_probe.evaluate(FakeEncoder({}, {}), data, PROBE)
    assert data.opened == ["train", "validation", "test"]  # test last, when all is chosen
    other = linear_probe.evaluate(FakeEncoder({}, {}), probe_data("unheard of", 5.0), PROBE)
    assert other.choices == result.choices
    assert other.values() != result.values()
    assert other.counts["object test pictures of classes unseen in training"] == 1


def test_what_is_fitted_is_train_and_validation(monkeypatch):
    seen = []

    def spy(train, validation, *arguments):
        seen.append((len(train.labels), len(validation.labels)))
        return fit(train, validation, *arguments)

    monkeypatch.setattr(linear_probe, "fit", spy)
    linear_probe.evaluate(FakeEncoder({}, {}), probe_data(), PROBE)
    assert seen == [(40, 20)]


def test_a_photo_in_two_splits_is_refused():
    data = probe_data()
    row = ([1, 0], "a", "train3")
    data._splits["test"]["object"].append(row)
    with pytest.raises(
        SuiteError, match=r"1 photos are in the train and in the test split.*train3"
    ):
        linear_probe.evaluate(FakeEncoder({}, {}), data, PROBE)


def test_photos_are_retrieved_by_caption_if_that_is_all_there_is():
    def at(degrees):
        return [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]

    data = FakeData({"test": {}}, {})
    split = data.split("test")._replace(
        captioned=np.array([at(0), at(90)], np.float32), captions=[["a", "b"], ["c"]]
    )
    data.split = lambda name: split
    texts = {"a": at(80), "b": at(10), "c": at(70)}
    found = retrieval.evaluate(FakeEncoder({}, texts), data, Settings())
    assert found.counts == {"caption pictures": 2, "caption texts": 3}
    values = {name: metric.value for name, metric in found.metrics.items()}
    assert values["caption/image_to_text/R@1"] == pytest.approx(1 / 2)  # picture 1's nearest is "a"
    assert values["caption/text_to_image/R@1"] == pytest.approx(2 / 3)
