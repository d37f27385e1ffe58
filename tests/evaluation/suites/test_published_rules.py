"""Rules that live in the benchmarks' notebooks and scorers rather than in their files."""

import csv

import numpy as np
import pytest

from scenarioclip_jax.evaluation.embed.encoder import Picture, view_of
from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.score import triplets
from scenarioclip_jax.evaluation.score.captions import score_captions
from scenarioclip_jax.evaluation.score.triplets import NEVER, Found, triplet_ranks
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import aro, captions, predcls, sugarcrepe, svo, whatsup
from scenarioclip_jax.evaluation.suites.aro_symmetric import SYMMETRIC
from tests.evaluation.fakes import FakeEncoder, files, write_images, write_json
from tests.evaluation.suites.test_captions_against_negatives import (
    ARO_TEXTS,
    angles,
    aro_record,
    at,
)


def test_aro_leaves_the_authors_157_relations_out_of_the_average():
    assert len(SYMMETRIC) == 157
    assert {"near", "next to", "beside", "with", "of", "around"} <= SYMMETRIC
    assert not {"on", "under", "to the left of", "wearing", "behind"} & SYMMETRIC
    # Right on directed relations, wrong on symmetric ones, whose captions are both true.
    names = ["on"] * 3 + ["under"] * 2 + ["near"] * 4 + ["standing next to"]
    hits = np.array([1] * 5 + [0] * 5, float)
    metrics, dropped = aro.score(hits, 1 - hits, names, 1)
    assert metrics["macro_accuracy"].value == 1.0
    assert metrics["macro_accuracy_all"].value == pytest.approx(2 / 4)
    assert metrics["accuracy"].value == pytest.approx(5 / 10)
    assert dropped == 0
    metrics, _ = aro.score(hits[5:], 1 - hits[5:], names[5:], 1)
    assert "macro_accuracy" not in metrics


def test_aro_says_how_it_averages_and_what_is_partial(tmp_path):
    write_images(tmp_path, "good.jpg")
    records = [aro_record("good.jpg", name) for name in ("on", "near")]
    write_json(tmp_path / "visual_genome_relation.json", records)
    result = aro.evaluate(FakeEncoder(angles(good=80), ARO_TEXTS), files(tmp_path), Settings())
    assert result.counts["relation records of symmetric relations"] == 1
    assert "symmetric" in result.protocol
    notes = "\n".join(result.notes)
    assert "relation: 2 of the published 23,937 records" in notes
    assert "attribution: not scored" in notes


def test_a_crop_beyond_the_photo_is_padded_with_black(tmp_path):
    from PIL import Image

    path = tmp_path / "white.png"
    Image.new("RGB", (40, 40), "white").save(path)
    view = view_of(Picture(path, crop=(-40, 0, 40, 40)), 32, "squash")
    assert view[:, :14].max() == 0
    assert view[:, 18:].min() == 255


def test_records_of_one_picture_are_drawn_together():
    """20 pictures, each with 50 equal records: the interval is that of 20 samples."""
    hits = np.repeat(np.arange(20) % 2, 50).astype(float)
    clusters = np.repeat(np.arange(20), 50)
    alone, _ = aro.score(hits, 1 - hits, ["on"] * 1000, 1)
    together, _ = aro.score(hits, 1 - hits, ["on"] * 1000, 1, clusters)
    widths = [np.diff(m["accuracy"].interval(0))[0] for m in (alone, together)]
    assert widths[1] > 5 * widths[0]
    kinds = [{"verb"}] * 1000
    metrics, _ = svo.score(hits, 1 - hits, kinds, clusters)
    assert np.diff(metrics["verb/accuracy"].interval(0))[0] == pytest.approx(widths[1], abs=0.05)


def test_sugarcrepe_draws_records_of_a_picture_together(tmp_path):
    write_images(tmp_path, "1.png", "2.png")
    texts = angles(**{"a cat": 0, "a dog": 90})
    record = {"caption": "a cat", "negative_caption": "a dog"}
    many = [record | {"filename": f"{i}.png"} for i in (1, 2) for _ in range(40)]
    write_json(tmp_path / "swap_obj.json", many)
    encoder = FakeEncoder({"1": at(5), "2": at(85)}, texts)
    result = sugarcrepe.evaluate(encoder, files(tmp_path), Settings())
    for name in ("swap_obj/accuracy", "mean_accuracy"):
        assert result.metrics[name].interval(0) == (0.0, 1.0)


def test_sugarcrepe_says_that_a_set_is_partial_and_leaves_strays_out(tmp_path):
    write_images(tmp_path, "1.png")
    record = {"filename": "1.png", "caption": "a cat", "negative_caption": "a dog"}
    write_json(tmp_path / "swap_obj.json", [record])
    write_json(tmp_path / "results.json", {"mean": 3})
    encoder = FakeEncoder({"1": at(5)}, angles(**{"a cat": 0, "a dog": 90}))
    result = sugarcrepe.evaluate(encoder, files(tmp_path), Settings())
    notes = "\n".join(result.notes)
    assert "1 of the 7 published files, without add_att, add_obj" in notes
    assert "results.json" in notes
    assert set(result.metrics) == {"swap_obj/accuracy", "mean_accuracy"}
    # SugarCrepe++ has five, also under long names.
    write_json(tmp_path / "swap_obj.json", [record | {"caption2": "a cat"}])
    (tmp_path / "swap_obj.json").rename(tmp_path / "swap_object.json")
    notes = sugarcrepe.evaluate_pp(encoder, files(tmp_path), Settings()).notes
    assert any("1 of the 5 published files, without replace_att" in note for note in notes)


def test_mean_recall_divides_by_all_predicates():
    # Two of four predicates occur: found and not found.
    found = [Found(np.array([0, 1]), np.array([0, 60]), np.array([5, 200]), np.zeros(2, bool), 100)]
    values = {name: metric.value for name, metric in triplets.score(found, 4).items()}
    assert values["mR@20"] == pytest.approx((1 + 0 + 0 + 0) / 4)
    assert values["present_mR@20"] == pytest.approx((1 + 0) / 2)
    low, high = triplets.score(found, 4)["mR@20"].interval(0, 50)
    assert low <= values["mR@20"] <= high


def slow_ranks(scores, matches, truth):
    """Both ranks of each triplet, by walking down sorted candidates as OpenPSG does; no ties."""
    pairs, predicates = scores.shape
    best = sorted(
        ((scores[i].max(), i, int(scores[i].argmax())) for i in range(pairs)), reverse=True
    )
    free = sorted(
        ((scores[i, p], i, p) for i in range(pairs) for p in range(predicates)), reverse=True
    )
    ranks = []
    for (_, predicate), own in zip(truth, matches, strict=True):

        def first(pool, predicate=predicate, own=own):
            hits = [r for r, (_, i, p) in enumerate(pool) if p == predicate and i in own]
            return hits[0] if hits else NEVER

        ranks.append((first(best), first(free)))
    return ranks


@pytest.mark.parametrize("seed", range(10))
def test_bbox_matching_agrees_with_a_direct_computation(seed):
    draw = np.random.default_rng(seed)
    count, predicates = 5, 4
    low = draw.uniform(0, 6, (count, 2))  # they overlap a lot
    boxes = np.concatenate([low, low + draw.uniform(4, 12, (count, 2))], axis=1)
    kinds = draw.integers(0, 2, count).tolist()
    truth = [(0, 1, 2), (1, 0, 0), (3, 2, 1)]
    scene = triplets.ImageTriplets(
        Picture(None), "1", [tuple(b) for b in boxes], ["x"] * count, truth, kinds
    )
    scores = draw.random((len(scene.pairs), predicates))
    place = {pair: i for i, pair in enumerate(scene.pairs)}

    def iou(a, b):
        w = min(a[2], b[2]) - max(a[0], b[0])
        h = min(a[3], b[3]) - max(a[1], b[1])
        shared = max(w, 0) * max(h, 0)
        areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
        return shared / (sum(areas) - shared)

    def alike(i, j):
        return kinds[i] == kinds[j] and iou(boxes[i], boxes[j]) >= 0.5

    wanted = [
        {place[x, y] for x, y in scene.pairs if alike(x, s) and alike(y, o)} for s, o, _ in truth
    ]
    matches = triplets.matching_pairs(scene)
    assert [set(each.tolist()) for each in matches] == wanted
    pairs = [(place[s, o], p) for s, o, p in truth]
    ranks = list(zip(*(x.tolist() for x in triplet_ranks(scores, pairs, matches)), strict=True))
    assert ranks == slow_ranks(scores, wanted, pairs)


def test_the_matching_rule_and_the_names_are_choices(tmp_path):
    assert predcls.clean_name("wall-other-merged") == "wall"
    assert predcls.clean_name("door-stuff") == "door"
    assert predcls.clean_name("wall-brick") == "wall-brick"
    with pytest.raises(ValueError, match="matching='iou': must be one of pan_seg, bbox"):
        Settings(matching="iou")
    # Twins: two persons in nearly one box, and one dog; the wrong twin is preferred.
    boxes = [([0, 0, 10, 10], 0), ([0, 0, 10, 11], 0), ([20, 0, 30, 10], 1), ([0, 20, 9, 29], 2)]
    image = {
        "image_id": "7",
        "file_name": "7.jpg",
        "annotations": [{"bbox": box, "category_id": kind} for box, kind in boxes],
        "relations": [[0, 2, 0]],
    }
    content = {
        "data": [image],
        "test_image_ids": ["7"],
        "predicate_classes": ["on", "by"],
        "thing_classes": ["person", "dog"],
        "stuff_classes": ["floor-other-merged"],
    }
    write_images(tmp_path, "7.jpg")
    path = write_json(tmp_path / "psg.json", content)

    class Twins(FakeEncoder):
        def images(self, pictures, level):
            # The annotated pair prefers "by"; its twin's prefers "on".
            annotated = {(0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)}
            return np.array([at(70) if set(p.keep) == annotated else at(10) for p in pictures])

        def texts(self, texts, level):
            self.asked += texts
            return np.array([at(0) if " on " in text else at(90) for text in texts])

    values = {}
    for matching in ("pan_seg", "bbox"):
        encoder = Twins({}, {})
        settings = Settings(matching=matching, clean_names=True)
        result = predcls.evaluate(encoder, files(path), settings)
        values[matching] = result.values()["R@20"]
        assert f"Matching as {matching}" in result.protocol
        assert "person on floor" in encoder.asked
        assert any("-merged" in note for note in result.notes)
    assert values == {"pan_seg": 0.0, "bbox": 1.0}


def test_svo_leaves_rows_out_as_its_authors_do(tmp_path):
    write_images(tmp_path, "1.jpg", "2.jpg")
    path = tmp_path / "svo.csv"
    flags = [(True, False, False), (False, True, False), (True, True, False), (False, False, False)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["sentence", "pos_image_id", "neg_image_id", "subj_neg", "verb_neg", "obj_neg"]
        )
        writer.writerows(["a girl sits", 1, 2, *each] for each in flags)
    encoder = FakeEncoder({"1": at(0), "2": at(50)}, {"a girl sits": at(10)})
    result = svo.evaluate(encoder, files(path), Settings())
    counts = {reason: each["count"] for reason, each in result.skips.summary().items()}
    assert counts == {
        "several words differ: left out, as officially": 1,
        "no word differs: left out, as officially": 1,
    }
    assert len(result.metrics["accuracy"].samples) == 2
    assert "match or no match" in result.protocol


def test_whatsup_says_that_pairs_are_incomplete(tmp_path):
    options = [f"a mug {p} a box" for p in ("left", "right", "on", "under")]
    write_images(tmp_path, "mug_left_of_box.png")
    record = {"image_path": "mug_left_of_box.png", "caption_options": options}
    write_json(tmp_path / "controlled_images_dataset.json", [record])
    encoder = FakeEncoder(
        {"mug_left_of_box": at(0)}, dict(zip(options, map(at, (0, 20, 40, 60)), strict=True))
    )
    notes = "\n".join(whatsup.evaluate(encoder, files(tmp_path), Settings()).notes)
    assert "A: 1 incomplete pairs and 1 incomplete sets" in notes
    assert "B: not scored" in notes


def test_a_caption_of_the_same_words_is_as_right_as_the_own_one():
    # Picture 0's first caption stands at picture 1 too, and is the nearest to both; its own comes last.
    images = np.array([[at(0), at(40)]])
    texts = np.array([[at(0), at(80), at(0), at(44)]])
    image_of = np.array([0, 0, 1, 1])
    apart, *_ = score_captions(images, texts, image_of)
    alike, *_ = score_captions(images, texts, image_of, ["a dog", "b", "a dog", "c"])
    assert apart["image_to_text/R@1"].value == pytest.approx(1 / 2)  # picture 0's is a tie
    assert alike["image_to_text/R@1"].value == 1.0


@pytest.mark.parametrize("form", ["lavis", "coco"])
def test_other_forms_of_the_caption_files_are_read(tmp_path, form):
    write_images(tmp_path, "val2014/1.png", "val2014/2.png")
    texts = {"1": [f"one {i}" for i in range(6)], "2": [f"two {i}" for i in range(6)]}
    if form == "lavis":
        content = [{"image": f"val2014/{k}.png", "caption": v} for k, v in texts.items()]
    else:
        content = {
            "images": [{"id": int(k), "file_name": f"{k}.png"} for k in texts],
            "annotations": [
                {"image_id": int(k), "caption": text} for k, v in texts.items() for text in v
            ],
        }
    path = write_json(tmp_path / "x.json", content)
    known = {t: at(5 if k == "1" else 85) for k, v in texts.items() for t in v}
    encoder = FakeEncoder({"1": at(0), "2": at(90)}, known)
    result = captions.evaluate(encoder, files(path), Settings())
    assert result.values()["image_to_text/R@1"] == 1.0
    assert result.counts["captions"] == 10
    assert any("2 pictures; Karpathy's test splits have 5,000" in note for note in result.notes)
    if form == "coco":
        assert any("not Karpathy's test split" in note for note in result.notes)


@pytest.mark.parametrize("form", ["karpathy", "lavis", "coco"])
def test_a_picture_in_several_rows_is_one_picture_with_all_their_captions(tmp_path, form):
    """Apart, each row's picture would be exactly as close to the others' captions: a wrong answer."""
    write_images(tmp_path, "1.png", "2.png")
    rows = [("1.png", ["a", "b"]), ("2.png", ["d"]), ("1.PNG", ["c", "b"])]
    if form == "lavis":
        content = [{"image": name, "caption": texts} for name, texts in rows]
    elif form == "karpathy":
        content = {
            "images": [
                {"filename": name, "split": "test", "sentences": [{"raw": text} for text in texts]}
                for name, texts in rows
            ]
        }
    else:
        content = {
            "images": [{"id": i, "file_name": name} for i, (name, _) in enumerate(rows)],
            "annotations": [
                {"image_id": i, "caption": text}
                for i, (_, texts) in enumerate(rows)
                for text in texts
            ],
        }
    path = write_json(tmp_path / "x.json", content)
    known = {"a": at(5), "b": at(10), "c": at(15), "d": at(85)}
    encoder = FakeEncoder({"1": at(0), "2": at(90)}, known)
    result = captions.evaluate(encoder, files(path), Settings())
    assert result.values()["text_to_image/R@1"] == result.values()["image_to_text/R@1"] == 1.0
    assert len(result.metrics["text_to_image/R@1"].samples) == 4  # b counts once
    assert result.counts["pictures"] == 2
    assert result.counts["rows of a picture that another row has too"] == 1


def coco_captions(tmp_path, images, captions_of):
    write_images(tmp_path, "1.png", "2.png")
    content = {
        "images": [{"id": id, "file_name": name} for id, name in images],
        "annotations": [{"image_id": id, "caption": text} for id, text in captions_of],
    }
    return files(write_json(tmp_path / "x.json", content))


def test_coco_captions_and_pictures_without_each_other_are_counted(tmp_path):
    given = coco_captions(
        tmp_path,
        [(1, "1.png"), (2, "2.png"), (3, "3.png")],
        [(1, "a"), (2, "d"), (7, "lost"), (7, "lost, too")],
    )
    encoder = FakeEncoder({"1": at(0), "2": at(90)}, {"a": at(5), "d": at(85)})
    result = captions.evaluate(encoder, given, Settings())
    skipped = result.skips.summary()
    assert skipped["picture has no caption"] == {
        "count": 1,
        "such_as": [f"{given.path} images[2]: 3.png"],
    }
    assert skipped["caption's picture isn't among the images"]["count"] == 2
    assert "image_id 7" in skipped["caption's picture isn't among the images"]["such_as"][0]


def test_coco_ids_are_the_same_as_numbers_and_as_texts_and_name_one_picture(tmp_path):
    given = coco_captions(tmp_path, [(1, "1.png"), (2, "2.png")], [("1", "a"), (2, "d")])
    encoder = FakeEncoder({"1": at(0), "2": at(90)}, {"a": at(5), "d": at(85)})
    result = captions.evaluate(encoder, given, Settings())
    assert result.counts["pictures"] == 2
    assert not len(result.skips)
    given = coco_captions(tmp_path, [(1, "1.png"), (1, "2.png")], [(1, "a")])
    with pytest.raises(
        SuiteError, match=r"images\[1\]: id 1 is '2\.png', but '1\.png' in .*images\[0\]"
    ):
        captions.read(given, result)


def test_sugarcrepe_counts_no_subset_twice(tmp_path):
    write_images(tmp_path, "1.png")
    record = {"filename": "1.png", "caption": "a", "caption2": "c", "negative_caption": "b"}
    for name in ("swap_obj", "swap_object", "swap_att"):
        write_json(tmp_path / f"{name}.json", [record])
    encoder = FakeEncoder({"1": at(0)}, {"a": at(0), "b": at(90), "c": at(5)})
    for suite in (sugarcrepe.evaluate, sugarcrepe.evaluate_pp):
        with pytest.raises(
            SuiteError, match=r"swap_obj\.json and swap_object\.json are the same subset.*leave one"
        ):
            suite(encoder, files(tmp_path), Settings())


def test_aro_relations_have_one_name_however_they_are_written(tmp_path):
    """Else a symmetric one would be averaged over, and one relation count as several."""
    write_images(tmp_path, "good.jpg", "bad.jpg")
    names = [("good", "on"), ("good", " ON "), ("bad", "on"), ("bad", "Next_To"), ("good", "Under")]
    records = [aro_record(f"{image}.jpg", relation) for image, relation in names]
    write_json(tmp_path / "visual_genome_relation.json", records)
    pairs = [["Red", "big"], ["red", "BIG"]]
    write_json(
        tmp_path / "visual_genome_attribution.json",
        [aro_record("good.jpg", attributes=pair) for pair in pairs],
    )
    encoder = FakeEncoder(angles(good=10, bad=80), ARO_TEXTS)
    result = aro.evaluate(encoder, files(tmp_path), Settings())
    assert result.counts["relation records of symmetric relations"] == 1
    assert result.values()["relation/macro_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert result.counts["attribution groups"] == 1


def test_aro_leaves_out_a_box_outside_of_its_picture_and_says_so(tmp_path):
    write_images(tmp_path, "good.jpg")  # 40 x 30
    off = aro_record("good.jpg", bbox_x=40)
    records = [aro_record("good.jpg"), off, aro_record("good.jpg", bbox_x=35, bbox_y=-5)]
    path = write_json(tmp_path / "visual_genome_relation.json", records)
    encoder = FakeEncoder(angles(good=10), ARO_TEXTS)
    result = aro.evaluate(encoder, files(tmp_path), Settings())
    assert result.counts["relation records"] == 2
    skipped = result.skips.summary()["its box lies outside of its picture"]
    assert skipped["count"] == 1
    assert "[1]: (40, 2, 50, 22)" in skipped["such_as"][0]
    assert "40 x 30 pixels" in skipped["such_as"][0]
    write_json(path, [off])
    with pytest.raises(SuiteError, match=r"no record is left: .* and 1 a box outside"):
        aro.evaluate(encoder, files(tmp_path), Settings())
