"""What training validates with gives the figures of the suites, and embeds nothing twice."""

import numpy as np
import pytest

from scenarioclip_jax.evaluation.embed.embedder import Gallery
from scenarioclip_jax.evaluation.score.from_embeddings import SUITES, PhotoTexts, scores
from scenarioclip_jax.evaluation.score.recognition import Recognition
from scenarioclip_jax.evaluation.score.zero_shot import zero_shot
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import hard_negatives, retrieval
from scenarioclip_jax.evaluation.suites import zero_shot as zero_shot_suite
from tests.evaluation.fakes import FakeData, FakeEncoder

# Photo q has two relations, p one; the first of q is nearer to its own triplet with the ends swapped.
TRIPLETS = [("a", "on", "b"), ("b", "on", "a"), ("a", "under", "c")]
NEGATIVES = [[("b", "on", "a"), ("a", "on", "c")], [("a", "on", "b")], [("a", "on", "c")]]
TEXTS = {"a on b": [1, 0, 0], "b on a": [0, 1, 0], "a under c": [0, 0, 1], "a on c": [1, 1, 0]}
CLASSES = {"actions": ["x", "y"], "objects": ["a", "b", "c"], "relations": list(TEXTS)[:3]}
ROWS = [([1, 2, 0], "a on b", "q"), ([0, 1, 0], "b on a", "q"), ([0, 1, 3], "a under c", "p")]
OBJECTS = {"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1]}
CROPS = [([2, 1, 0], "a", "q"), ([1, 0, 0], "b", "q"), ([0, 0, 1], "c", "p"), ([0, 1, 0], "a", "p")]


def recognition():
    galleries, embeddings, found = {}, {}, {}
    levels = {"object": (CROPS, CLASSES["objects"], OBJECTS)}
    levels["relation"] = (ROWS, CLASSES["relations"], TEXTS)
    for level, (rows, classes, texts) in levels.items():
        x, names, photos = zip(*rows, strict=True)
        galleries[level] = Gallery(np.array(x, np.float32), list(names), list(photos))
        embeddings[level] = np.array([texts[name] for name in classes], np.float32)
        found[level] = zero_shot(
            galleries[level].embeddings, classes, embeddings[level], *rows_of(rows)
        )
    galleries["global"] = Gallery(np.zeros((0, 1)), [], [])  # as where a data set has no action
    whole = Gallery(np.array([[1, 0], [0, 1], [1, 1]], np.float32), [""] * 3, ["q", "p", "r"])
    return Recognition(found, galleries, embeddings, whole)


def rows_of(rows):
    return [row[1] for row in rows], [row[2] for row in rows]


def relations():
    photo = {"q": slice(0, 2), "p": slice(2, 3)}
    return {name: PhotoTexts(TRIPLETS[rows], NEGATIVES[rows], []) for name, rows in photo.items()}


def test_the_figures_are_those_of_the_suites():
    encoder = FakeEncoder({}, TEXTS | OBJECTS)
    found = scores(recognition(), CLASSES, relations(), encoder.texts, SUITES)
    assert encoder.asked == ["a on c"]  # the one text that is no class text, once

    values = {name: value for name, (value, _) in found.items()}
    # By hand: the first relation is nearer to both of its negatives than to its own triplet; the others win.
    assert values["relation/hard_negatives/all"] == pytest.approx(2 / 3)
    assert values["relation/hard_negatives/swapped_ends"] == pytest.approx(1 / 2)
    assert found["relation/hard_negatives/all"].chance == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert values["object/image_to_text/R1"] == pytest.approx(2 / 4)

    rows = {"object": CROPS, "relation": ROWS}
    classes = {"object": CLASSES["objects"], "relation": CLASSES["relations"]}
    data = FakeData({"test": rows}, classes, TRIPLETS, NEGATIVES)
    expected = {}
    for suite, prefix in (
        (zero_shot_suite, ""),
        (retrieval, ""),
        (hard_negatives, "relation/hard_negatives/"),
    ):
        metrics = suite.evaluate(encoder, data, Settings()).metrics
        for name, metric in metrics.items():
            name = prefix + name.replace("@", "").replace(" ", "_")
            expected[name] = (pytest.approx(metric.value), pytest.approx(metric.chance))
    assert len(found) == 2 * 3 + 2 * 6 + 4
    assert found == {name: expected[name] for name in found}


def test_only_the_suites_that_are_asked_for():
    def never(texts, level):
        raise AssertionError(texts)

    found = scores(recognition(), CLASSES, {}, never, ["zero_shot"])
    assert {name.split("/", 1)[1] for name in found} == {"top1", "top5", "any_label_top1"}
    found = scores(recognition(), CLASSES, {}, never, ["retrieval"])
    assert set(found) == {
        f"{level}/{way}/R{k}"
        for level in ("object", "relation")
        for way in ("text_to_image", "image_to_text")
        for k in (1, 5, 10)
    }


def test_captions_are_retrieved_where_photos_have_them():
    # "q" is nearest to its second caption, "p" to a caption of "q"; "r" has none.
    texts = {"far": [-1, 0], "near": [1, 0.1], "odd": [-0.5, 0.2]}
    photos = {"q": ["far", "near"], "p": ["odd"], "r": []}
    photos = {name: PhotoTexts([], [], captions) for name, captions in photos.items()}
    none = recognition()._replace(scores={})
    found = scores(none, CLASSES, photos, FakeEncoder({}, texts).texts, ["retrieval"])
    assert {name.split("/")[0] for name in found} == {"caption"}
    assert found["caption/image_to_text/R1"].value == pytest.approx(1 / 2 + 1 / 2)
    # "far" is nearer to "p", "near" to "q", "odd" to "p".
    assert found["caption/text_to_image/R1"].value == pytest.approx(2 / 3)
    assert found["caption/text_to_image/R1"].chance == pytest.approx(1 / 2)


def test_a_data_set_without_negatives_has_no_such_figure():
    none = {
        photo: PhotoTexts(r.triplets, [[] for _ in r.triplets], [])
        for photo, r in relations().items()
    }
    assert scores(recognition(), CLASSES, none, FakeEncoder({}, {}).texts, ["hard_negatives"]) == {}


def test_relations_of_a_photo_without_texts_do_not_count():
    texts = {"q": relations()["q"]}
    found = scores(recognition(), CLASSES, texts, FakeEncoder({}, TEXTS).texts, ["hard_negatives"])
    # Of the two relations of "q", one beats its negatives; "p" was damaged after it was embedded.
    assert found["relation/hard_negatives/all"].value == pytest.approx(1 / 2)
