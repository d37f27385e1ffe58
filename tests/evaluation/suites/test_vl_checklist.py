"""VL-CheckList: a true text against a false one, averaged over the files of an aspect."""

import pytest

from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import vl_checklist
from tests.evaluation.fakes import FakeEncoder, files, write_images, write_json
from tests.evaluation.suites.test_captions_against_negatives import angles, at

TEXTS = {"red fork": at(0), "blue fork": at(90)}


def record(image, **changes):
    return [image, {"POS": ["Red fork", "a fork"], "NEG": ["blue  fork"]} | changes]


def given(tmp_path, **content):
    write_images(tmp_path / "images" / "vg" / "VG_100K", "1.jpg", "2.jpg")
    for name, records in content.items():
        path = tmp_path / "data" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path.with_suffix(".json"), records)
    (tmp_path / "data").mkdir(exist_ok=True)
    return type(files(tmp_path))(tmp_path / "data", (tmp_path / "images",))


def test_files_count_alike_within_their_aspect(tmp_path):
    right, wrong = record("VG_100K/1.jpg"), record("VG_100K/2.jpg")
    content = {
        "Attribute__vg__color": [right, right, right, wrong],
        "Attribute__vaw__color": [wrong],
        "Relation__vg__spatial": [right],
    }
    encoder = FakeEncoder(angles(**{"1": 10, "2": 80}), TEXTS)
    result = vl_checklist.evaluate(encoder, given(tmp_path, **content), Settings())
    assert result.values() == {
        "attribute/accuracy": pytest.approx((3 / 4 + 0) / 2),
        "relation/accuracy": 1.0,
    }
    assert result.counts == {"attribute records": 5, "relation records": 1}
    assert result.notes == ["Object: not scored, its files aren't there"]


def test_a_tie_is_wrong_and_counted(tmp_path):
    encoder = FakeEncoder({"1": at(45)}, TEXTS)
    files = given(tmp_path, Object__hake=[record("VG_100K/1.jpg")])
    result = vl_checklist.evaluate(encoder, files, Settings())
    assert result.values()["object/accuracy"] == 0.0
    assert result.ties == {"Object/hake": 1}


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([["1.jpg", "x"]], r"hake\.json \[0\]: .*expected \[image, \{POS, NEG\}\]"),
        ([record("VG_100K/1.jpg"), record("VG_100K/1.jpg", NEG=[])], r"\[1\]: 'NEG' has no text"),
        ([record(3)], "'image' is 3"),
        ({}, "expected a list of records"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, records, told):
    with pytest.raises(SuiteError, match=told):
        vl_checklist.read(given(tmp_path, Object__hake=records), Result({}, {}, "", ""))


def test_another_folder_is_told_from_the_benchmark(tmp_path):
    with pytest.raises(SuiteError, match=r"no \.json file below Attribute.*folder `data`"):
        vl_checklist.read(given(tmp_path), Result({}, {}, "", ""))
