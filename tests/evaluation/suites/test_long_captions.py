"""Retrieval by descriptions of several sentences."""

import dataclasses
import json

import pytest

from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import long_captions
from scenarioclip_jax.evaluation.suites.registry import registered
from tests.evaluation.fakes import FakeEncoder, files, write_images, write_jsonl
from tests.evaluation.suites.test_captions_against_negatives import angles, at

TEXTS = {"a street. it rains.": at(0), "a square. it is empty.": at(60)}


def urban(tmp_path, *, names=("1", "2"), ending=".jpg"):
    write_images(tmp_path / "image", *(f"{name}{ending}" for name in names))
    (tmp_path / "caption").mkdir()
    for name, text in zip(
        names, ("A street.\nIt rains.\n", "a square.  It is empty."), strict=True
    ):
        (tmp_path / "caption" / f"{name}.txt").write_text(text)
    return files(tmp_path)


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_each_description_belongs_to_the_picture_of_its_name(tmp_path, ending):
    given = urban(tmp_path, ending=ending)
    encoder = FakeEncoder({"1": at(10), "2": at(20)}, TEXTS)
    result = registered()["urban1k"].evaluate(encoder, given, Settings())
    values = result.values()
    # Both pictures are nearer to the street; the square's text is nearer to the second.
    assert values["image_to_text/R@1"] == 0.5
    assert values["text_to_image/R@1"] == 1.0
    assert result.metrics["text_to_image/R@1"].chance == 0.5
    assert "2 of the published 1,000" in result.notes[0]
    assert list(given.digests) == [str(tmp_path / "caption")]


def test_the_digest_tells_other_descriptions(tmp_path):
    one = urban(tmp_path / "a")
    other = urban(tmp_path / "b")
    for given in (one, other):
        long_captions.read_urban1k(given, Result({}, {}, "", ""))
    assert [*one.digests.values()] == [*other.digests.values()]
    (tmp_path / "b" / "caption" / "2.txt").write_text("a square. it is full.")
    long_captions.read_urban1k(other, Result({}, {}, "", ""))
    assert [*one.digests.values()] != [*other.digests.values()]


def test_docci_scores_its_test_split(tmp_path):
    write_images(tmp_path / "images", "test_1.jpg", "test_2.jpg", "train_1.jpg")
    texts = ["A street. It rains.", "A square. It is empty."]
    records = [
        {
            "example_id": f"test_{i}",
            "split": "test",
            "image_file": f"test_{i}.jpg",
            "description": text,
        }
        for i, text in enumerate(texts, 1)
    ]
    records += [records[0] | {"split": "train", "image_file": "train_1.jpg"}]
    path = write_jsonl(tmp_path / "docci_descriptions.jsonlines", records)
    encoder = FakeEncoder(angles(test_1=5, test_2=55), TEXTS)
    result = registered()["docci"].evaluate(encoder, files(path), Settings())
    assert result.values()["image_to_text/R@1"] == result.values()["text_to_image/R@1"] == 1.0
    assert result.counts["pictures"] == 2


def dci(folder, **changes):
    """Two photos with what their authors wrote of them."""
    write_images(folder / "photos", "sa_1.jpg", "sa_2.jpg")
    texts = {"sa_1": ("A street.", "It rains."), "sa_2": ("A square. It is empty.", "")}
    (folder / "annotations").mkdir()
    for name, (short, more) in texts.items():
        record = {"image": f"{name}.jpg", "short_caption": short, "extra_caption": more} | changes
        (folder / "annotations" / f"{name}.json").write_text(json.dumps(record | {"mask_data": {}}))
    return dataclasses.replace(files(folder / "annotations"), images=(folder / "photos",))


def test_dci_reads_both_captions_of_a_photo(tmp_path):
    given = dci(tmp_path)
    encoder = FakeEncoder(angles(sa_1=5, sa_2=55), TEXTS)
    result = registered()["dci"].evaluate(encoder, given, Settings())
    assert result.values()["image_to_text/R@1"] == result.values()["text_to_image/R@1"] == 1.0
    assert "2 of the published 7,805" in result.notes[0]
    assert list(given.digests) == [str(tmp_path / "annotations")]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"short_caption": ""}, "expected a text"),
        ({"short_caption": 3}, "'short_caption' is 3, expected str"),
        ({"extra_caption": ["a"]}, "'extra_caption' is .*, expected str"),
        ({"image": "../x.jpg"}, "must lie below the image folder"),
    ],
)
def test_records_of_dci_are_named_where_they_cannot_be_used(tmp_path, changes, told):
    given = dci(tmp_path, **{"extra_caption": ""} | changes)
    with pytest.raises(SuiteError, match=told):
        registered()["dci"].read(given, Result({}, {}, "", ""))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("urban1k", None, r"caption: no \.txt file"),
        ("dci", None, r"no \.json file"),
        ("docci", {"split": "train", "image_file": "1.jpg", "description": "a"}, "split 'test'"),
        ("docci", {"split": "test", "image_file": "1.jpg"}, "no field 'description'"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, name, content, told):
    path = tmp_path
    if content is not None:
        path = tmp_path / "docci.jsonlines"
        path.write_text(json.dumps(content) + "\n")
    with pytest.raises(SuiteError, match=told):
        registered()[name].read(files(path), Result({}, {}, "", ""))
