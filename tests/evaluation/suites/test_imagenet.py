"""Zero-shot classification of folders, with an average of prompts."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.evaluation import plan
from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import imagenet
from tests.evaluation.fakes import FakeEncoder, files, write_images, write_json
from tests.evaluation.suites.test_captions_against_negatives import angles, at

CLASSES = {"n01": "Tench", "n02": "gold_fish", "n03": "shark"}
CONFIG = Path(__file__).parents[3] / "configs" / "evaluate.py"


def given(tmp_path, classes=CLASSES, folders=("n01", "n02")):
    write_images(tmp_path / "val", *(f"{folder}/{folder}.JPEG" for folder in folders))
    path = write_json(tmp_path / "classes.json", classes)
    return type(files(path))(path, (tmp_path / "val",), suite="imagenet")


def test_classes_without_a_folder_do_not_compete(tmp_path):
    texts = {"tench": at(0), "gold fish": at(90), "shark": at(50)}
    encoder = FakeEncoder(angles(n01=10, n02=50), texts)
    result = imagenet.evaluate(encoder, given(tmp_path), Settings())
    # The second would be a shark, if sharks had a folder.
    assert result.values() == {"top1": 1.0, "macro_top1": 1.0, "top5": 1.0, "macro_top5": 1.0}
    assert "shark" not in encoder.asked
    assert result.metrics["top1"].chance == 0.5


def test_every_class_counts_alike_in_the_macro_average(tmp_path):
    files = given(tmp_path)
    write_images(tmp_path / "val" / "n01", "a.png", "b.png", "notes.txt.png")
    (tmp_path / "val" / "n01" / "readme.txt").write_text("no image")
    seen = angles(n01=1, n02=1, a=1, b=1) | {"notes.txt": at(80)}
    result = imagenet.evaluate(
        FakeEncoder(seen, {"tench": at(0), "gold fish": at(90)}), files, Settings()
    )
    assert result.values()["top1"] == pytest.approx(3 / 5)
    assert result.values()["macro_top1"] == pytest.approx((3 / 4 + 0) / 2)


def test_prompts_are_averaged_after_they_were_normalized(tmp_path):
    # Normalized first, the means point to 40 and 90 degrees; else the long ones would win, at about 8 and 82.
    texts = {"a tench.": 9 * np.array(at(0)), "tench!": at(80)}
    texts |= {"a gold fish.": at(100), "gold fish!": 7 * np.array(at(80))}
    encoder = FakeEncoder(angles(n01=55, n02=70), texts)
    settings = Settings(templates=("A {}.", "{}!"))
    files = given(tmp_path)
    result = imagenet.evaluate(encoder, files, settings)
    assert result.values()["top1"] == 1.0
    assert "templates" in files.digests, "other templates would look comparable"
    only = imagenet.evaluate(encoder, given(tmp_path), Settings(prompt="A {}."))
    assert only.values()["top1"] == 0.5
    assert result.counts["prompts"] == 2


def test_keras_index_knows_folders_by_name_and_by_number(tmp_path):
    classes = {"0": ["n01", "tench"], "1": ["n02", "gold_fish"]}
    for folders in (("n01", "n02"), ("0", "1")):
        files = given(tmp_path / folders[0], classes, folders)
        encoder = FakeEncoder(
            {folders[0]: at(0), folders[1]: at(90)}, {"tench": at(0), "gold fish": at(90)}
        )
        assert imagenet.evaluate(encoder, files, Settings()).values()["top1"] == 1.0


def test_folders_of_one_name_are_told(tmp_path):
    result = Result({}, {}, "", "")
    classes = {"n01": "crane", "n02": "Crane", "n03": "shark"}
    imagenet.read(given(tmp_path, classes, ("n01", "n02", "n03")), result)
    assert "1 names belong to several folders, such as 'crane'" in result.notes[0]


def test_folders_of_no_class_are_told(tmp_path):
    result = Result({}, {}, "", "")
    imagenet.read(given(tmp_path, folders=("n01", "n02", "n77")), result)
    assert "1 folders of no class left out, such as n77" in result.notes[0]


@pytest.mark.parametrize(
    ("classes", "folders", "told"),
    [
        ({}, ("n01",), "expected an object from folders to names"),
        ({"n01": 3, "n02": "x"}, ("n01", "n02"), r"\['n01'\]"),
        ({"0": ["n01"]}, ("n01",), "expected \\[folder, name\\]"),
        (CLASSES, ("x", "y"), r"no folder there is that of a class.*imagenet\.images"),
        (CLASSES, ("n01",), "one class has images"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, classes, folders, told):
    with pytest.raises((SuiteError, AttributeError), match=told):
        imagenet.read(given(tmp_path, classes, folders), Result({}, {}, "", ""))


def test_templates_are_read_from_a_file_and_checked(tmp_path):
    path = tmp_path / "templates.txt"
    path.write_text("a photo of a {}.\n\nart of the {}.\r\n")
    assert plan._templates(str(path)) == ("a photo of a {}.", "art of the {}.")
    path.write_text("a photo\n")
    with pytest.raises(ConfigError, match=r"imagenet\.templates=.*'a photo' must hold"):
        plan._templates(str(path))
    with pytest.raises(ConfigError, match="can't be read"):
        plan._templates(str(tmp_path / "gone.txt"))
    assert runpy.run_path(str(CONFIG))["get_config"]().imagenet.templates == ""
