"""Zero-shot scoring: the reference's figures, and small cases worked out by hand."""

import json
import tracemalloc

import numpy as np
import pytest

from scenarioclip_jax.evaluation.score import zero_shot as module
from scenarioclip_jax.evaluation.score.zero_shot import zero_shot
from tests import golden


def test_the_reference_figures_under_both_rules():
    meta = json.loads((golden.FOLDER / "zero_shot.json").read_text())
    data = golden.arrays("zero_shot")
    photos, labels = [], []
    for photo, names in enumerate(meta["labels_per_image"]):
        photos += [str(photo)] * len(names)
        labels += names
    result = zero_shot(
        data["crop_image_embeddings"],
        meta["classes"],
        data["class_text_embeddings"],
        labels,
        photos,
    )
    for k in (1, 5, 10):
        figures = meta["results"][f"top{k}"]
        assert result[f"top{k}"] == pytest.approx(figures["strict"])
        assert result[f"any_label_top{k}"] == pytest.approx(figures["any_label_of_image"])


def test_scoring_runs_in_bounded_memory(monkeypatch):
    """Of 4,000 crops 64 at a time, so that the whole matrix of 64 MB is never there."""
    monkeypatch.setattr(module, "CHUNK", 64)
    vectors = np.random.default_rng(0).normal(size=(4000, 4)).astype(np.float32)
    names = [str(i) for i in range(4000)]
    tracemalloc.start()
    found = zero_shot(vectors, names, vectors, names, names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["top1"] == 1.0
    assert peak < 4000 * 4000 * 4 / 8


def test_memory_is_bounded_whatever_the_number_of_classes():
    """Of 512 crops and 40,000 classes the whole matrix would be 82 MB."""
    classes = np.random.default_rng(0).normal(size=(40_000, 2)).astype(np.float32)
    names = [str(i) for i in range(len(classes))]
    tracemalloc.start()
    zero_shot(classes[:512], names, classes, names[:512], names[:512])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


def test_by_hand():
    # Two photos; the second photo's crops are labeled b and c. Crop 1 looks like c, crop 2 like a.
    classes = np.eye(3)
    images = np.array([[3.0, 1, 0], [0, 1, 2], [5, 0, 1]])
    result = zero_shot(images, ["a", "b", "c"], classes, ["a", "b", "c"], ["p", "q", "q"])
    assert result["top1"] == pytest.approx(1 / 3)  # only crop 0
    assert result["any_label_top1"] == pytest.approx(2 / 3)  # crop 1 hits its photo's c
    assert result["top5"] == 1.0  # k is capped at the three classes
    assert result["chance_top1"] == pytest.approx(1 / 3)
    assert result["chance_top5"] == 1.0
    assert result["macro_top1"] == pytest.approx(1 / 3)


def test_a_tie_is_wrong():
    classes = np.array([[1.0, 0], [1.0, 0], [0, 1]])
    result = zero_shot(np.array([[1.0, 0]]), ["a", "b", "c"], classes, ["a"], ["p"])
    assert result["top1"] == 0.0


def test_macro_average_weighs_classes_alike():
    classes, images = np.eye(2), np.array([[1.0, 0], [1, 0], [1, 0], [1, 0]])
    result = zero_shot(images, ["a", "b"], classes, ["a", "a", "a", "b"], list("pqrs"))
    assert result["top1"] == 0.75
    assert result["macro_top1"] == 0.5


def test_an_unknown_label_is_named():
    with pytest.raises(ValueError, match="'zebra'"):
        zero_shot(np.ones((1, 2)), ["a"], np.ones((1, 2)), ["zebra"], ["p"])
