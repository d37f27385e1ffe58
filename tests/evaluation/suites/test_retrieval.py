"""Retrieval: small cases by hand, and many random ones against a slow direct count."""

import numpy as np
import pytest

from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.score import ranks
from scenarioclip_jax.evaluation.score.ranks import chance_of_hit, first_right_ranks, nearest
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import captions, retrieval
from tests.evaluation.fakes import FakeData, FakeEncoder, files, write_images, write_json


def slow_ranks(queries, gallery, right):
    """One score at a time; whole numbers, so that ties are exact."""
    found = []
    for q, own in enumerate(right):
        scores = []
        for n in range(gallery.shape[1]):
            levels = [float(np.dot(queries[v, q], gallery[v, n])) for v in range(len(queries))]
            scores.append(max(levels))
        best = max(scores[n] for n in own)
        found.append(sum(s >= best for n, s in enumerate(scores) if n not in own))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_ranks_agree_with_a_direct_count(seed, monkeypatch):
    draw = np.random.default_rng(seed)
    levels, count, total = draw.integers(1, 4), draw.integers(1, 30), draw.integers(2, 30)
    # One-hot vectors with a sign have cosines -1, 0 and 1: many ties.
    vectors = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)
    queries = vectors[draw.integers(8, size=(levels, count))]
    gallery = vectors[draw.integers(8, size=(levels, total))]
    right = [draw.permutation(total)[: draw.integers(1, 4)].tolist() for _ in range(count)]
    monkeypatch.setattr(ranks, "ENTRIES", int(draw.integers(1, 100)))  # chunks of any size
    found = first_right_ranks(queries, gallery, right)
    assert found.tolist() == slow_ranks(queries, gallery, right)


def test_nearest_takes_the_best_level():
    queries = np.array([[[1.0, 0]], [[1.0, 0]]])
    gallery = np.array([[[1.0, 0.2], [0, 1]], [[0, 1.0], [1, 0]]])  # the second level prefers row 1
    assert nearest(queries, gallery, 5).tolist() == [[1, 0]]


def test_nearest_agrees_with_sorting_everything(monkeypatch):
    monkeypatch.setattr(ranks, "ENTRIES", 50)
    draw = np.random.default_rng(0)
    queries, gallery = draw.normal(size=(1, 9, 4)), draw.normal(size=(1, 20, 4))
    scores = queries[0] @ (gallery[0] / np.linalg.norm(gallery[0], axis=1, keepdims=True)).T
    np.testing.assert_array_equal(nearest(queries, gallery, 3), np.argsort(-scores)[:, :3])


def test_chance_of_a_hit():
    assert chance_of_hit(10, 1, 5) == pytest.approx(0.5)
    assert chance_of_hit(4, 2, 2) == pytest.approx(1 - 1 / 6)  # both wrong ones: 1 of 6 draws
    assert chance_of_hit(3, 1, 10) == 1.0


def test_equal_texts_are_one_text_with_several_right_pictures():
    # Three pictures, two texts; pictures 0 and 1 share text 0.
    images = np.array([[1.0, 0, 0], [0, 1, 0.1], [0, 1, 0]])
    texts = np.array([[1.0, 0.2, 0], [0.9, 1, 0]])
    values = {k: m.value for k, m in retrieval.score(images, texts, np.array([0, 0, 1])).items()}
    # Text 0 finds picture 0 first. Text 1: picture 2 before 1 (cosine .743 and .740) and 0 (.67).
    assert values["text_to_image/R@1"] == 1.0
    # Picture 0 is nearer to text 0 (.98 > .67); pictures 1 and 2 to text 1: right for 2 alone.
    assert values["image_to_text/R@1"] == pytest.approx(2 / 3)
    assert values["image_to_text/R@5"] == 1.0  # k is capped at two texts
    assert values["image_to_text/median_rank"] == 1.0
    metrics = retrieval.score(images, texts, np.array([0, 0, 1]))
    assert metrics["text_to_image/R@1"].chance == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_the_in_domain_suite_merges_equal_texts():
    rows = [([1, 0], "dog", "p"), ([0.9, 0.1], "dog", "q"), ([0, 1], "cat", "q")]
    data = FakeData({"test": {"object": rows}}, {})
    encoder = FakeEncoder({}, {"dog": [1, 0], "cat": [0, 1]})
    result = retrieval.evaluate(encoder, data, Settings())
    assert result.counts == {"object pictures": 3, "object texts": 2}
    assert result.values()["object/text_to_image/R@1"] == 1.0
    assert len(result.metrics["object/text_to_image/R@1"].samples) == 2
    assert result.skips.summary()["level without pictures"]["count"] == 2
    assert [row[1] for row in result.examples["object: nearest to “cat”"]][:1] == ["cat"]
    with pytest.raises(SuiteError, match="of a picture"):
        retrieval.evaluate(encoder, FakeData({"test": {}}, {}), Settings())


def karpathy(split, name, raws, folder="val2014"):
    sentences = [{"raw": raw, "tokens": raw.split()} for raw in raws]
    return {"filepath": folder, "filename": name, "split": split, "sentences": sentences}


def test_karpathy_any_of_five_captions_counts(tmp_path):
    write_images(tmp_path / "images", "val2014/a.jpg", "val2014/b.jpg")
    # Picture a: its fourth caption is nearest of all. Picture b: nearest is a caption of a.
    texts = {"a1": [-1, 0, 0], "a2": [-1, 0.1, 0], "a3": [0, 0, -1], "a4": [1, 0, 0]}
    texts |= {"a5": [0, 1, 0], "sixth": [0, 0, 1]}
    texts |= {f"b{i}": [0, 0.9, 0.6 + i / 100] for i in range(1, 6)}
    content = {
        "dataset": "coco",
        "images": [
            karpathy("train", "gone.jpg", ["never read"]),
            karpathy("test", "a.jpg", ["A1", "a2", "a3", "a4", "a5", "sixth"]),
            karpathy("test", "b.jpg", ["b1", "b2", "b3", "b4", "b5"]),
        ],
    }
    path = write_json(tmp_path / "dataset_coco.json", content)
    encoder = FakeEncoder({"a": [1, 0, 0], "b": [0, 1, 0.1]}, texts)
    result = captions.evaluate(encoder, files(path), Settings())
    values = result.values()
    assert values["image_to_text/R@1"] == pytest.approx(1 / 2)
    assert values["image_to_text/R@5"] == 1.0
    # Captions with their own picture first: a4 (1 against 0); a5 prefers b; a1 to a3 have cosine -1, -1
    # and 0 with a, and 0, 0.1 and -0.1 with b, so only a3; b1 to b5 prefer b.
    assert values["text_to_image/R@1"] == pytest.approx((2 + 5) / 10)
    assert result.counts["captions beyond a picture's first 5, left out"] == 1
    assert result.metrics["image_to_text/R@1"].chance == pytest.approx(0.5)
    content["images"][1]["sentences"][2] = {}
    write_json(path, content)
    with pytest.raises(SuiteError, match=r"images\[1\]: 'sentences\[\].raw' is None"):
        captions.evaluate(encoder, files(path), Settings())


def test_ranking_runs_in_bounded_memory(monkeypatch):
    import tracemalloc

    monkeypatch.setattr(ranks, "ENTRIES", 1 << 18)
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(1, 4000, 4)).astype(np.float32)
    tracemalloc.start()
    first_right_ranks(vectors, vectors, [[i] for i in range(4000)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4000 * 4000 * 4 / 8  # the whole matrix would take 64 MB


def test_scenes_of_one_photo_share_their_right_texts():
    """Nothing tells their pictures apart: each would be wrong for the other's text, or tie with it."""
    images = np.array([[1.0, 0.2], [1.0, 0.2], [0.0, 1.0]])
    texts = np.array([[1.0, 0.1], [1.0, 0.3], [0.0, 1.0]])
    apart = retrieval.score(images, texts, np.arange(3))
    shared = retrieval.score(images, texts, np.arange(3), np.array([0, 0, 1]))
    assert apart["text_to_image/R@1"].value == pytest.approx(1 / 3)
    assert shared["text_to_image/R@1"].value == 1.0
    assert shared["image_to_text/R@1"].value == 1.0
    assert shared["image_to_text/R@1"].chance == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)
    wrong = retrieval.score(images[:, ::-1], texts, np.arange(3), np.array([0, 0, 1]))
    assert wrong["image_to_text/R@1"].value == 0.0
