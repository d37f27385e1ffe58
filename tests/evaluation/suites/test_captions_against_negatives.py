"""ARO, SugarCrepe (and ++), Winoground, What'sUp, VSR and SVO-Probes, with scores worked out by hand.

Pictures and texts are vectors of two numbers: `x` is a unit vector that many degrees from the first axis, so a
smaller difference of angles is a larger cosine.
"""

import numpy as np
import pytest

from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.score import two_by_two
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import aro, sugarcrepe, svo, vsr, whatsup, winoground
from tests.evaluation.fakes import FakeEncoder, files, write_images, write_json, write_jsonl


def at(degrees):
    return [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]


def angles(**degrees):
    return {name: at(value) for name, value in degrees.items()}


# ARO: captions at 0 (true) and 90 (false) degrees; a picture is right below 45 degrees, a tie at 45.
ARO_TEXTS = {"the dog is on the mat": at(0), "the mat is on the dog": at(90)}


def aro_record(image, name="on", **changes):
    box = dict(bbox_x=4, bbox_y=2, bbox_w=10, bbox_h=20)
    captions = dict(true_caption="The dog  is on the mat", false_caption="the mat is on the dog")
    return {"image_path": image, **box, **captions, "relation_name": name} | changes


def test_aro_relation_is_the_mean_over_relations(tmp_path):
    write_images(tmp_path / "images", "good.jpg", "bad.jpg")
    # "on" 2 of 3, "under" 0 of 1.
    names = [("good", "on"), ("good", "on"), ("bad", "on"), ("bad", "under")]
    records = [aro_record(f"{image}.jpg", relation) for image, relation in names]
    write_json(tmp_path / "visual_genome_relation.json", records)
    encoder = FakeEncoder(angles(good=10, bad=80), ARO_TEXTS)
    result = aro.evaluate(encoder, files(tmp_path), Settings())
    assert result.values()["relation/accuracy"] == pytest.approx(2 / 4)
    assert result.values()["relation/macro_accuracy"] == pytest.approx((2 / 3 + 0) / 2)
    assert encoder.asked[0].crop == (4, 2, 14, 22)  # the box is cut out first
    assert result.skips.summary()["file is missing"]["count"] == 1  # attribution


def test_sugarcrepe_shows_the_four_surest_failures(tmp_path):
    degrees = {"p10": 10, "p50": 50, "p80": 80, "p60": 60, "p89": 89, "p70": 70}
    write_images(tmp_path, *(f"{name}.jpg" for name in degrees))
    records = [
        {"filename": f"{name}.jpg", "caption": "true", "negative_caption": "false"}
        for name in degrees
    ]
    write_json(tmp_path / "swap_obj.json", records)
    encoder = FakeEncoder(angles(**degrees), angles(true=0, false=90))
    result = sugarcrepe.evaluate(encoder, files(tmp_path), Settings())
    shown = result.examples["swap_obj: surest failures"]
    assert [each.picture.path.stem for each in shown] == ["p89", "p80", "p70", "p60"]


def test_aro_attribution_drops_groups_under_25(tmp_path):
    write_images(tmp_path, "good.jpg", "bad.jpg")
    large = [aro_record("good.jpg", attributes=["red", "big"])] * 20
    large += [aro_record("bad.jpg", attributes=["red", "big"])] * 5
    small = [aro_record("bad.jpg", attributes=["old", "wet"])] * 24
    write_json(tmp_path / "visual_genome_attribution.json", large + small)
    encoder = FakeEncoder(angles(good=10, bad=80), ARO_TEXTS)
    result = aro.evaluate(encoder, files(tmp_path), Settings())
    assert result.values()["attribution/macro_accuracy"] == pytest.approx(20 / 25)
    assert result.values()["attribution/accuracy"] == pytest.approx(20 / 49)
    assert result.counts["attribution records in groups under 25"] == 24


def test_a_tie_is_wrong():
    same = np.array([0.3, 0.3], np.float32)
    metrics, _ = aro.score(same, same, ["on", "on"], 1)
    assert metrics["macro_accuracy"].value == 0.0
    pp = sugarcrepe.score_pp(*[np.array([0.5])] * 6)
    assert [metric.value for metric in pp.values()] == [0.0, 0.0]
    assert {m.value for m in two_by_two.score(np.ones((1, 2, 2))).values()} == {0.0}
    metrics, _ = whatsup.score(np.ones((1, 4)), [("a", "b")], ["on"])
    assert metrics["individual"].value == 0.0
    assert svo.score(same, same, [{"verb"}] * 2)[0]["accuracy"].value == 0.0


def test_equal_captions_tie_through_the_files(tmp_path):
    write_images(tmp_path, "good.jpg")
    record = aro_record("good.jpg", false_caption="the DOG is on the mat")
    write_json(tmp_path / "visual_genome_relation.json", [record])
    encoder = FakeEncoder(angles(good=0), ARO_TEXTS)
    assert aro.evaluate(encoder, files(tmp_path), Settings()).values()["relation/accuracy"] == 0.0


def test_the_best_of_several_levels_scores(tmp_path):
    write_images(tmp_path, "one.jpg")
    write_json(tmp_path / "visual_genome_relation.json", [aro_record("one.jpg")])
    # Global prefers the false caption a little, relation the true one clearly.
    encoder = FakeEncoder({"one": {"global": at(50), "relation": at(0)}}, ARO_TEXTS)
    wanted = {("global",): 0.0, ("relation",): 1.0, ("global", "relation"): 1.0}
    for levels, value in wanted.items():
        result = aro.evaluate(encoder, files(tmp_path), Settings(levels=levels))
        assert result.values()["relation/accuracy"] == value
    assert result.level == "max(global, relation)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox_w": 0}, r"relation.json \[1\]: its box is 0.0 x"),
        ({"bbox_w": "10"}, r"\[1\]: 'bbox_w' is '10'"),
        ({"true_caption": " "}, r"\[1\]: 'true_caption' is ' '"),
        ({"image_path": "gone.jpg"}, r"\[1\]: the image 'gone.jpg' isn't in .*skip_missing=True"),
        ({"image_path": "../x.jpg"}, "must lie below the image folder"),
    ],
)
def test_bad_records_are_named(tmp_path, change, message):
    write_images(tmp_path, "good.jpg")
    records = [aro_record("good.jpg"), aro_record("good.jpg") | change]
    write_json(tmp_path / "visual_genome_relation.json", records)
    encoder = FakeEncoder(angles(good=10), ARO_TEXTS)
    with pytest.raises(SuiteError, match=message):
        aro.evaluate(encoder, files(tmp_path), Settings())


def test_missing_images_are_skipped_and_counted_when_allowed(tmp_path):
    write_images(tmp_path, "good.jpg")
    records = [aro_record("good.jpg"), aro_record("gone.jpg")]
    write_json(tmp_path / "visual_genome_relation.json", records)
    encoder = FakeEncoder(angles(good=10), ARO_TEXTS)
    result = aro.evaluate(encoder, files(tmp_path, skip_missing=True), Settings())
    assert result.values()["relation/accuracy"] == 1.0
    skipped = result.skips.summary()["image is missing"]
    assert skipped["count"] == 1
    assert "gone.jpg" in skipped["such_as"][0]


def test_malformed_files_are_named(tmp_path):
    path = tmp_path / "visual_genome_relation.json"
    for text, message in (("[", "not valid JSON"), ("[]", "not empty"), ("[3]", r"\[0\]: 3")):
        path.write_text(text)
        with pytest.raises(SuiteError, match=message):
            aro.evaluate(FakeEncoder({}, {}), files(tmp_path), Settings())
    path.unlink()
    with pytest.raises(SuiteError, match=r"neither visual_genome_relation\.json nor"):
        aro.evaluate(FakeEncoder({}, {}), files(tmp_path), Settings())


def test_sugarcrepe_by_file(tmp_path):
    write_images(tmp_path / "images", "000000000001.jpg", "000000000002.jpg")
    texts = angles(**{"a cat": 0, "a dog": 90})
    cat, dog = (
        {"filename": f"00000000000{i}.jpg", "caption": c, "negative_caption": n}
        for i, c, n in ((1, "A cat", "a dog"), (2, "A dog", "a cat"))
    )
    wrong = cat | {"filename": "000000000002.jpg"}
    write_json(tmp_path / "replace_rel.json", {"0": cat, "1": dog, "2": wrong, "3": wrong})
    write_json(tmp_path / "swap_obj.json", {"0": cat})
    encoder = FakeEncoder({"000000000001": at(5), "000000000002": at(85)}, texts)
    values = sugarcrepe.evaluate(encoder, files(tmp_path), Settings()).values()
    assert values == pytest.approx(
        {"replace_rel/accuracy": 0.5, "swap_obj/accuracy": 1.0, "mean_accuracy": 0.75}
    )


def test_sugarcrepe_pp(tmp_path):
    write_images(tmp_path, "1.jpg")
    texts = angles(p=0, near=10, far=60, wrong=45, closer=30)
    record = {"filename": "1.jpg", "caption": "p", "caption2": "near", "negative_caption": "wrong"}
    records = [
        record,  # picture at 0: 0 and 10 beat 45; captions 10 apart, negative 45 and 35 away
        record | {"caption2": "far"},  # 60 loses to 45; captions 60 apart: both wrong
        record | {"negative_caption": "closer", "caption2": "near"},  # both right
        # 30 beats 45, so image_text is right; captions 30 apart, but the negative is 15 from the second
        record | {"caption2": "closer"},
    ]
    write_json(tmp_path / "swap_object.json", records)
    encoder = FakeEncoder({"1": at(0)}, texts)
    values = sugarcrepe.evaluate_pp(encoder, files(tmp_path), Settings()).values()
    assert values["swap_object/image_text"] == pytest.approx(3 / 4)
    assert values["swap_object/text_only"] == pytest.approx(2 / 4)
    assert values["mean_text_only"] == pytest.approx(2 / 4)


def test_winoground_text_image_and_group(tmp_path):
    # scores[n, caption, picture]
    scores = np.array(
        [
            [[0.9, 0.1], [0.2, 0.8]],  # all right
            [[0.5, 0.1], [0.4, 0.2]],  # text: .5>.4, .2>.1; image: .5>.1, but .2<.4
            [[0.5, 0.3], [0.6, 0.7]],  # text: .5<.6 wrong; image: .5>.3 and .7>.6
            [[0.5, 0.5], [0.1, 0.6]],  # image: .5 ties with .5
        ]
    )
    values = {name: metric.value for name, metric in two_by_two.score(scores).items()}
    assert values == {"text": 3 / 4, "image": 2 / 4, "group": 1 / 4}
    # Through the file: caption c at 0 or 90 degrees, pictures at 10 and 80.
    write_images(tmp_path / "images", "ex_0_img_0.png", "ex_0_img_1.png")
    record = {"id": 0, "caption_0": "A b", "caption_1": "b a"}
    record |= {"image_0": "ex_0_img_0", "image_1": "ex_0_img_1"}
    path = write_jsonl(tmp_path / "examples.jsonl", [record])
    pictures = {"ex_0_img_0": at(10), "ex_0_img_1": at(80)}
    encoder = FakeEncoder(pictures, {"a b": at(0), "b a": at(90)})
    assert set(winoground.evaluate(encoder, files(path), Settings()).values().values()) == {1.0}
    turned = FakeEncoder(pictures, {"a b": at(90), "b a": at(0)})
    assert set(winoground.evaluate(turned, files(path), Settings()).values().values()) == {0.0}


def test_whatsup_individual_pair_and_set(tmp_path):
    where = {"left_of": 0, "right_of": 30, "on": 60, "under": 90}
    texts = {f"a mug {p} a box": at(x) for p, x in where.items()}
    seen = {"mug": {"left_of": 1, "right_of": 31, "on": 59, "under": 89}}
    seen["cup"] = {"left_of": 2, "right_of": 29, "on": 61, "under": 61}  # under is taken for on
    pictures, records = {}, []
    for thing, angles_ in seen.items():
        for preposition, angle in angles_.items():
            name = f"{thing}_{preposition}_box"
            pictures[name] = at(angle)
            write_images(tmp_path / "controlled_images", f"{name}.jpeg")
            right = f"a mug {preposition} a box"
            options = [right, *(text for text in texts if text != right)]
            image = f"data/controlled_images/{name}.jpeg"
            records.append({"image_path": image, "caption_options": options})
    write_json(tmp_path / "controlled_images_dataset.json", records)
    encoder = FakeEncoder(pictures, texts)
    values = whatsup.evaluate(encoder, files(tmp_path), Settings()).values()
    assert values == pytest.approx(
        {"A/individual": 7 / 8, "A/pair": 3 / 4, "A/set": 1 / 2, "mean_individual": 7 / 8}
    )


def test_whatsup_names_what_it_cannot_read(tmp_path):
    options = ["a", "b", "c", "d"]
    path = tmp_path / "controlled_clevr_dataset.json"
    for record, message in (
        ({"image_path": "x/mug_near_box.jpeg", "caption_options": options}, "mug_near_box"),
        ({"image_path": "x/mug_on_box.jpeg", "caption_options": options[:3]}, "3 caption_options"),
    ):
        write_json(path, [record])
        with pytest.raises(SuiteError, match=message):
            whatsup.evaluate(FakeEncoder({}, {}), files(tmp_path), Settings())


@pytest.mark.parametrize(
    ("scores", "labels", "threshold"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], 0.25),
        ([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1], 0.15),  # 3 right at .15 and at .35: the lower
        ([0.1, 0.2], [1, 1], -0.9),  # all are true: below all scores
        ([0.1, 0.2], [0, 0], 0.2),  # none is
        ([0.1, 0.2, 0.2, 0.3], [0, 0, 1, 1], 0.15),  # no threshold between the equal scores
    ],
)
def test_the_best_threshold(scores, labels, threshold):
    found = vsr.best_threshold(np.array(scores), np.array(labels, bool))
    assert found == pytest.approx(threshold)


def test_vsr_uses_devs_threshold_on_test(tmp_path):
    write_images(tmp_path / "images", *(f"{x}.jpg" for x in (10, 30, 50, 70)))
    encoder = FakeEncoder({str(x): at(x) for x in (10, 30, 50, 70)}, {"the cat is left": at(0)})

    def records(pairs):
        caption = "The cat is left"
        return [{"image": f"{x}.jpg", "caption": caption, "label": y} for x, y in pairs]

    # Dev separates at cos 30 | cos 50; on test 10 and 30 are called true.
    write_jsonl(tmp_path / "dev.jsonl", records([(10, 1), (30, 1), (50, 0), (70, 0)]))
    write_jsonl(tmp_path / "test.jsonl", records([(10, 1), (30, 0), (50, 0), (70, 1), (70, 0)]))
    result = vsr.evaluate(encoder, files(tmp_path), Settings())
    assert result.values()["accuracy"] == pytest.approx(3 / 5)
    middle = (np.cos(np.radians(30)) + np.cos(np.radians(50))) / 2
    assert result.choices["threshold"] == pytest.approx(middle, abs=1e-6)
    assert result.metrics["accuracy"].chance == pytest.approx(3 / 5)
    # Another test split doesn't change what was chosen.
    write_jsonl(tmp_path / "test.jsonl", records([(10, 0), (70, 1)]))
    assert vsr.evaluate(encoder, files(tmp_path), Settings()).choices == result.choices
    write_jsonl(tmp_path / "dev.jsonl", [{"image": "10.jpg", "caption": "x", "label": 2}])
    with pytest.raises(SuiteError, match=r"dev.jsonl line 1: 'label' is 2"):
        vsr.evaluate(encoder, files(tmp_path), Settings())
    (tmp_path / "dev.jsonl").write_text("{}\n{oops\n")
    with pytest.raises(SuiteError, match=r"dev.jsonl line 2: not valid JSON"):
        vsr.evaluate(encoder, files(tmp_path), Settings())


def test_svo_by_which_word_differs(tmp_path):
    write_images(tmp_path / "images", "1.jpg", "2.png")
    path = tmp_path / "svo_probes.csv"
    path.write_text(
        "sentence,pos_triplet,neg_triplet,pos_image_id,neg_image_id,subj_neg,verb_neg,obj_neg\n"
        '"A girl sits, here","girl,sit,grass","man,sit,grass",1,2,True,False,False\n'
        '"A girl sits, here","girl,sit,grass","girl,run,grass",2,1,False,True,False\n'
        '"A girl sits, here","girl,sit,grass","girl,lie,grass",1,2,False,True,False\n'
    )
    encoder = FakeEncoder({"1": at(0), "2": at(50)}, {"a girl sits, here": at(10)})
    result = svo.evaluate(encoder, files(path), Settings())
    assert result.values() == pytest.approx(
        {"accuracy": 2 / 3, "subject/accuracy": 1.0, "verb/accuracy": 1 / 2}
    )
    path.write_text(path.read_text().replace("True", "maybe", 1))
    with pytest.raises(SuiteError, match=r"svo_probes.csv line 2: .*must be True or False"):
        svo.evaluate(encoder, files(path), Settings())
