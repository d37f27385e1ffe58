"""Boxes where nobody gives any: from a detector, or on a grid."""

import json

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax.annotate.models.detections import MOST, Detection
from scenarioclip_jax.annotate.models.detector import ZeroShotDetector
from scenarioclip_jax.annotate.models.protocols import DetectAnswer, ModelError
from scenarioclip_jax.annotate.results import Failure
from scenarioclip_jax.describe.boxes import grid
from scenarioclip_jax.describe.command import main
from scenarioclip_jax.describe.describe import describe
from scenarioclip_jax.describe.detector import DetectorError, open_detector
from scenarioclip_jax.describe.word_lists import WordsError
from tests.annotate.models import tiny
from tests.describe.test_describe import BOXES, PHOTO, WORDS, known
from tests.evaluation import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.grounding_dino(tmp_path_factory.mktemp("detector") / "dino")


@pytest.fixture
def says(monkeypatch, folder):
    """Opens a detector that finds what it is told to."""

    def opened(result):
        def detect(self, requests):
            for photo, names in requests:
                asked.append((photo.open().size, names))
                yield DetectAnswer(photo.id, result)

        asked = []
        monkeypatch.setattr(ZeroShotDetector, "detect", detect)
        return open_detector(folder), asked

    return opened


def test_boxes_of_one_object_under_two_names_are_one(says):
    found = [
        Detection("man", (20, 10, 60, 60), 0.9),
        Detection("person", (21, 10, 60, 61), 0.95),
        Detection("horse", (10, 40, 90, 95), 0.8),
    ]
    detector, asked = says(found)
    boxes = detector(Image.fromarray(PHOTO), ["man", "person", "horse"])
    np.testing.assert_array_equal(boxes, [[21, 10, 60, 61], [10, 40, 90, 95]])
    assert asked == [((200, 100), ["man", "person", "horse"])]


def test_the_surest_boxes_are_kept(says):
    many = [Detection("man", (5 * n, 0, 5 * n + 5, 5), n / 100) for n in range(40)]
    detector, _ = says(many)
    boxes = detector(Image.fromarray(PHOTO), ["man"])
    assert boxes[:, 0].tolist() == [5 * n for n in range(39, 39 - MOST, -1)]


def test_nothing_found_is_no_box(says):
    detector, _ = says([])
    assert detector(Image.fromarray(PHOTO), ["man"]).shape == (0, 4)


def test_a_detector_that_fails_says_so(says):
    detector, _ = says(Failure("out_of_memory", "no memory is left"))
    with pytest.raises(DetectorError, match="no memory is left"):
        detector(Image.fromarray(PHOTO), ["man"])


def test_a_real_network_gives_boxes_in_the_picture(folder):
    boxes = open_detector(folder, threshold=0.01)(Image.fromarray(PHOTO), ["man", "horse"])
    assert boxes.shape[1] == 4
    assert (boxes >= 0).all()
    assert (boxes <= [200, 100, 200, 100]).all()


def test_a_scene_is_described_by_a_detectors_boxes():
    asked = []

    def detector(picture, names):
        asked.append((picture.size, list(names)))
        return np.array(BOXES, np.float32)

    found = describe(known(), PHOTO, words=WORDS, detector=detector)
    assert found.to_json() == describe(known(), PHOTO, BOXES, words=WORDS).to_json()
    assert asked == [((200, 100), WORDS["objects"])]
    # Boxes that are given need no detector.
    describe(known(), PHOTO, BOXES, words=WORDS, detector=detector)
    assert len(asked) == 1


def test_where_a_detector_finds_nothing_the_action_is_left():
    found = describe(known(), PHOTO, words=WORDS, detector=lambda *_: np.zeros((0, 4), np.float32))
    assert (len(found.objects), len(found.relations)) == (0, 0)
    assert found.actions


def test_a_detector_needs_names():
    with pytest.raises(WordsError, match="give words for objects"):
        describe(known(), PHOTO, words={"actions": ["riding"]}, detector=grid(2))


def test_a_grid_covers_the_picture():
    boxes = grid(2)(Image.fromarray(PHOTO), [])
    expected = [[0, 0, 100, 50], [100, 0, 200, 50], [0, 50, 100, 100], [100, 50, 200, 100]]
    np.testing.assert_array_equal(boxes, expected)
    for rows in (0, 11):
        with pytest.raises(ValueError, match=f"the grid is {rows}"):
            grid(rows)


@pytest.mark.parametrize("threshold", [0.0, 1.0, float("nan")])
def test_thresholds_that_are_none(folder, threshold):
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        open_detector(folder, threshold)


def test_a_detector_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        open_detector(str(tmp_path / "nowhere"))


@pytest.mark.slow
def test_the_command_takes_a_detector_or_a_grid(small_data, tmp_path, folder):
    model = tiny_model.write_model(tmp_path / "model", small_data)
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    flags = [f"--model={model}", f"--words={small_data}", f"--photo={tmp_path / 'photo.png'}"]
    main([*flags, "--grid=2", f"--json={tmp_path / 'scene.json'}"])
    assert len(json.loads((tmp_path / "scene.json").read_text())["objects"]) == 4
    main([*flags, f"--detector={folder}", "--threshold=0.9"])
    for wrong, message in (
        ("--grid=0", "the grid is 0"),
        (f"--detector={tmp_path}", "Check the name or folder"),
    ):
        with pytest.raises(SystemExit, match=message):
            main([*flags, wrong])
