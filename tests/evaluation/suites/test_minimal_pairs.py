"""Two pictures and two captions in the files of several benchmarks, with scores worked out by hand."""

import csv

import pytest

from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import minimal_pairs, valse, whatsup
from scenarioclip_jax.evaluation.suites.registry import registered
from tests.evaluation.fakes import FakeEncoder, files, write_images, write_json
from tests.evaluation.suites.test_captions_against_negatives import angles, at

# A caption is at 0 degrees, the other one at 90. With pictures at 10 and 80, all is right. With both near the
# first caption, each text still finds its picture, but the second picture finds the wrong text.
RIGHT, NEAR, WRONG = (10, 80), (5, 40), (80, 10)


def score(name, path, pictures, captions=("a b", "b a"), **options):
    encoder = FakeEncoder(pictures, dict(zip(captions, (at(0), at(90)), strict=True)))
    given = files(path, **options)
    return registered()[name].evaluate(encoder, given, Settings()), encoder


def test_cola_finds_the_images_of_its_addresses_by_name(tmp_path):
    write_images(tmp_path / "images", "1.jpg", "2.jpg", "3.jpg", "4.jpg")
    records = [
        ["https://there.edu/images/1.jpg", "A b", "https://there.edu/images/2.jpg", "b  a"],
        ["https://there.edu/images/3.jpg", "a b", "https://there.edu/images/4.jpg", "b a"],
    ]
    path = write_json(tmp_path / "COLA_multiobjects_matching_benchmark.json", records)
    seen = {"1": at(RIGHT[0]), "2": at(RIGHT[1]), "3": at(NEAR[0]), "4": at(NEAR[1])}
    result, _ = score("cola", path, seen)
    # The paper's rule: caption 1 prefers image 1, and caption 2 image 2.
    assert result.values() == {"image": 1.0, "text": 0.5, "group": 0.5}
    assert "2 of the published 210 records" in result.notes[0]
    result, _ = score("cola", path, seen | {"1": at(WRONG[0]), "2": at(WRONG[1])})
    assert result.values() == {"image": 0.5, "text": 0.0, "group": 0.0}


def test_colorswap(tmp_path):
    write_images(tmp_path, "images/img_0_1.png", "images/img_0_2.png")
    record = {"id": 0, "caption_1": "a b", "caption_2": "b a", "image_source": "midjourney"}
    record |= {"image_1": "images/img_0_1.png", "image_2": "images/img_0_2.png"}
    path = write_json(tmp_path / "test.json", [record])
    result, _ = score("colorswap", path, {"img_0_1": at(NEAR[0]), "img_0_2": at(NEAR[1])})
    assert result.values() == {"text": 0.0, "image": 1.0, "group": 0.0}


def test_eqben_is_told_by_part(tmp_path):
    names = {f"{part}/{i}_{part}.png": None for part in ("eqbensd", "eqbenag") for i in (0, 1)}
    write_images(tmp_path / "images", *names)
    records = [
        {
            "image0": f"{part}/0_{part}.png",
            "image1": f"{part}/1_{part}.png",
            "caption0": "a b",
            "caption1": "b a",
        }
        for part in ("eqbensd", "eqbenag", "eqbenag")
    ]
    path = write_json(tmp_path / "all_select.json", records)
    seen = {f"{i}_eqbensd": at(RIGHT[i]) for i in (0, 1)}
    seen |= {f"{i}_eqbenag": at(WRONG[i]) for i in (0, 1)}
    result, _ = score("eqben", path, seen)
    values = result.values()
    assert values["eqbensd/group"] == 1.0
    assert values["eqbenag/group"] == 0.0
    assert values["group"] == pytest.approx(1 / 3)
    assert values["mean_group"] == pytest.approx(1 / 2)
    assert result.counts["eqbenag records"] == 2


def mmvp(tmp_path, rows):
    path = tmp_path / "Questions.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Question ID", "Type", "Statement"])
        writer.writerows(rows)
    return path


def test_mmvp_pairs_follow_one_another_and_texts_are_of_photos(tmp_path):
    kinds = ["Color and Appearance", "Texts"]
    write_images(
        tmp_path / "images",
        *(f"{kind}/{2 * k + i}.jpg" for k, kind in enumerate(kinds) for i in (1, 2)),
    )
    rows = [
        [2 * k + i, kind, ("A b", "b a")[i - 1]] for k, kind in enumerate(kinds) for i in (1, 2)
    ]
    seen = {"1": at(RIGHT[0]), "2": at(RIGHT[1]), "3": at(WRONG[0]), "4": at(WRONG[1])}
    captions = "a photo of a b", "a photo of b a"
    result, encoder = score("mmvp", mmvp(tmp_path, rows), seen, captions)
    assert result.values()["color and appearance/image"] == 1.0
    assert result.values()["texts/image"] == 0.0
    assert result.values()["mean_image"] == 0.5
    assert "a photo of a b" in encoder.asked


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([[1, "Texts", "a"]], "no partner"),
        ([[1, "Texts", "a"], [2, "Color", "b"]], r"line 3: its Type is 'Color'.*'Texts'"),
        ([[1, "Texts", ""], [2, "Texts", "b"]], "'Statement' is ''"),
    ],
)
def test_statements_that_are_no_pair_are_named(tmp_path, rows, told):
    write_images(tmp_path, "Texts/1.jpg", "Texts/2.jpg")
    with pytest.raises(SuiteError, match=told):
        minimal_pairs.read_mmvp(files(mmvp(tmp_path, rows)), Result({}, {}, "", ""))


@pytest.mark.parametrize("record", [["1.jpg", "a", "2.jpg"], {"a": 1}, ["1.jpg", "a", 2, "b"]])
def test_what_is_no_record_of_cola_is_named(tmp_path, record):
    path = write_json(tmp_path / "x.json", [["1.jpg", "a", "1.jpg", "b"], record])
    write_images(tmp_path, "1.jpg")
    with pytest.raises(SuiteError, match=r"x\.json \[1\]"):
        minimal_pairs.read_cola(files(path), Result({}, {}, "", ""))


def foil(image, votes=3, **changes):
    found = {
        "dataset": "coco2017",
        "image_file": image,
        "caption": "There are Dogs.",
        "foil": "cats",
    }
    return found | {"mturk": {"foil": 0, "caption": votes, "other": 3 - votes}} | changes


def test_valse_counts_what_two_annotators_found_valid(tmp_path):
    write_images(tmp_path / "images", "right.jpg", "wrong.jpg")
    encoder = FakeEncoder(angles(right=10, wrong=80), {"there are dogs.": at(0), "cats": at(90)})
    data = tmp_path / "data"
    data.mkdir()
    invalid = {"c": foil("wrong.jpg", votes=1)}
    write_json(
        data / "existence.json", {"a": foil("right.jpg"), "b": foil("wrong.jpg", 2)} | invalid
    )
    write_json(data / "plurals.json", {"a": foil("right.jpg")})
    write_json(data / "other.json", {"a": 1})  # none of VALSE's files
    given = files(data)
    given = type(given)(data, (tmp_path / "images",))
    result = valse.evaluate(encoder, given, Settings())
    assert result.values() == {
        "existence/accuracy": 0.5,
        "plurals/accuracy": 1.0,
        "mean_accuracy": 0.75,
    }
    assert result.counts["existence records"] == 2
    notes = "\n".join(result.notes)
    assert "existence: 2 of the published 505 records" in notes
    assert "2 of the 11 published files" in notes


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (foil("right.jpg", votes=1), "no record has 2 votes"),
        (foil("right.jpg", mturk={"foil": 1}), r"\['a'\]: 'mturk' is"),
        (foil("right.jpg", foil=None), "'foil' is None"),
    ],
)
def test_valse_names_what_it_cannot_use(tmp_path, record, told):
    write_images(tmp_path, "right.jpg")
    write_json(tmp_path / "foil-it.json", {"a": record})
    with pytest.raises(SuiteError, match=told):
        valse.read(files(tmp_path), Result({}, {}, "", ""))


def test_valse_without_its_files(tmp_path):
    with pytest.raises(SuiteError, match=r"none of VALSE's files.*existence\.json"):
        valse.read(files(tmp_path), Result({}, {}, "", ""))


def test_whatsup_averages_all_of_its_subsets(tmp_path):
    write_images(tmp_path, "000000000007.jpg", "7.jpg", "mug_on_box.png")
    write_json(
        tmp_path / "coco_qa_one_obj.json", [[7, "a dog on the left", "a dog on the right"]] * 2
    )
    write_json(tmp_path / "vg_qa_two_obj.json", [[7, "a dog on the left", "a dog on the right"]])
    four = {"image_path": "mug_on_box.png", "caption_options": ["on", "under", "left", "right"]}
    write_json(tmp_path / "controlled_images_dataset.json", [four])
    texts = angles(on=0, under=90, left=60, right=45)
    texts |= {"a dog on the left": at(0), "a dog on the right": at(90)}
    seen = {"000000000007": at(10), "7": at(80), "mug_on_box": at(1)}
    result = whatsup.evaluate(FakeEncoder(seen, texts), files(tmp_path), Settings())
    values = result.values()
    assert values["COCO one/individual"] == 1.0
    assert values["VG two/individual"] == 0.0
    assert values["A/individual"] == 1.0
    assert values["mean_individual"] == pytest.approx(2 / 3)
    assert result.metrics["mean_individual"].chance == pytest.approx((1 / 4 + 1 / 2 + 1 / 2) / 3)
    assert "COCO two: not scored, its file isn't there" in result.notes
