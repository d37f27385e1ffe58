"""Visual Genome's 150 classes: graphs out of arrays, and recalls worked out by hand."""

import sys

import numpy as np
import pytest

from scenarioclip_jax.evaluation.files import Files, SuiteError
from scenarioclip_jax.evaluation.score import triplets
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import vg150, vg150_files
from tests.evaluation.fakes import FakeEncoder, write_images, write_json

MAN, DOG, GRASS = 1, 2, 3  # labels
ON, FEEDS = 1, 2  # predicates
# The longer side of the photos has 40 pixels, so 1024 is 40 of them.
UNIT = 1024 / 40


def box(x0, y0, width, height):
    """Middle and size of a box of so many pixels."""
    return [round(v * UNIT) for v in (x0 + width / 2, y0 + height / 2, width, height)]


def arrays(**changes):
    """Photos 0 (training: man on grass), 1 (without relations) and 2 (test)."""
    boxes = [box(0, 0, 10, 10), box(20, 0, 10, 10), box(5, 5, 5, 5)]
    boxes += [box(0, 0, 10, 10), box(20, 0, 10, 10), box(0, 20, 30, 10)]
    return {
        "split": np.array([0, 2, 2]),
        "img_to_first_box": np.array([0, 2, 3]),
        "img_to_last_box": np.array([1, 2, 5]),
        "img_to_first_rel": np.array([0, -1, 1]),
        "img_to_last_rel": np.array([0, -1, 3]),
        "labels": np.array([[MAN], [GRASS], [DOG], [MAN], [DOG], [GRASS]]),
        "boxes_1024": np.array(boxes),
        "relationships": np.array([[0, 1], [3, 4], [3, 5], [4, 5]]),
        "predicates": np.array([[ON], [FEEDS], [ON], [ON]]),
    } | changes


WORDS = {
    "label_to_idx": {"grass": GRASS, "man": MAN, "dog": DOG},
    "predicate_to_idx": {"feeds": FEEDS, "on": ON},
}


def given(tmp_path, monkeypatch, content=None, words=None, photos=(7, 1592, 8, 9)):
    write_images(tmp_path / "images" / "VG_100K", "7.jpg", "8.jpg", "9.jpg")
    (tmp_path / "VG-SGG.h5").write_bytes(b"")
    write_json(tmp_path / "VG-SGG-dicts.json", words or WORDS)
    records = [{"image_id": photo, "width": 40, "height": 30} for photo in photos]
    write_json(tmp_path / "image_data.json", records)
    monkeypatch.setattr(vg150_files, "read_arrays", lambda path, digests: content or arrays())
    return Files(tmp_path, (tmp_path / "images",))


class ByBoxes(FakeEncoder):
    """Looks boxes up by their left edge and width, pairs by those of both."""

    def images(self, pictures, level):
        self.asked += pictures
        keys = [tuple((round(b[0]), round(b[2])) for b in p.keep) for p in pictures]
        return np.array([self._pictures[each] for each in keys], np.float32)


M, D, G = (0, 10), (20, 30), (0, 30)  # left and right edges in the test photo
NAMES = {"man": [1, 0, 0, 0], "dog": [0, 1, 0, 0], "grass": [0, 0, 1, 0]}
SEEN = {(M,): [1, 0.1, 0, 0], (D,): [0, 1, 0.1, 0], (G,): [0, 0.1, 1, 0]}
# Pairs of the man with the dog look like feeding, all others like standing on something.
PAIRS = {(M, D): [0, 0, 0.1, 1], (M, G): [0, 0, 1, 0.1], (G, D): [0, 0, 1, 0.1]}
for one in (M, D, G):
    PAIRS |= {(two, one): value for (one_, two), value in list(PAIRS.items()) if one_ == one}


def texts():
    found = dict(NAMES)
    for subject in NAMES:
        for other in NAMES:
            found[f"{subject} on {other}"] = [0, 0, 1, 0]
            found[f"{subject} feeds {other}"] = [0, 0, 0, 1]
    return found


def evaluate(files, **seen):
    encoder = ByBoxes(SEEN | PAIRS | seen.pop("boxes", {}), texts())
    return vg150.evaluate(encoder, files, Settings(**seen))


def test_what_is_named_right_is_found_by_both(tmp_path, monkeypatch):
    result = evaluate(given(tmp_path, monkeypatch))
    values = result.values()
    assert values["objects/accuracy"] == 1.0
    for task in ("predcls", "sgcls"):
        assert values[f"{task}/R@20"] == 1.0
        assert values[f"{task}/mR@20"] == 1.0
        assert values[f"{task}/ng-R@20"] == 1.0
        assert values[f"{task}/ng-mR@20"] == 1.0
        assert values[f"{task}/zR@20"] == 1.0
    assert result.counts == {
        "photos": 1,
        "boxes": 3,
        "true triplets": 3,
        "training triplets known": 1,
    }


def test_a_wrong_name_loses_its_triplets(tmp_path, monkeypatch):
    # The dog is taken for a man: its two triplets can't be found in SGCls; PredCls is told the names.
    result = evaluate(given(tmp_path, monkeypatch), boxes={(D,): [1, 0.1, 0, 0]})
    values = result.values()
    assert values["objects/accuracy"] == pytest.approx(2 / 3)
    assert values["predcls/R@20"] == 1.0
    assert values["sgcls/R@20"] == pytest.approx(1 / 3)
    assert values["sgcls/ng-R@20"] == pytest.approx(1 / 3)
    assert values["sgcls/mR@20"] == pytest.approx(
        (0 + 1 / 2) / 2
    )  # feeds; man on grass, not dog on grass


def test_a_tie_of_names_is_wrong(tmp_path, monkeypatch):
    result = evaluate(given(tmp_path, monkeypatch), boxes={(D,): [0, 1, 1, 0]})
    assert result.values()["sgcls/R@20"] == pytest.approx(1 / 3)
    assert result.ties == {"names of boxes": 1}


def test_names_that_are_no_numbers_are_wrong(tmp_path, monkeypatch):
    result = evaluate(given(tmp_path, monkeypatch), boxes={(M,): [np.nan] * 4})
    assert result.values()["objects/accuracy"] == pytest.approx(2 / 3)
    assert result.values()["predcls/R@20"] == 1.0
    assert result.values()["sgcls/R@20"] == pytest.approx(1 / 3)


def test_another_box_of_the_thing_will_do(tmp_path, monkeypatch):
    """The man has a second box, which overlaps the first by 9 of 10 columns and is the one that counts."""
    content = arrays()
    content["boxes_1024"][5] = box(1, 0, 9, 10)
    content["labels"][5] = MAN
    content["relationships"] = np.array([[0, 1], [3, 4], [3, 4], [5, 4]])
    content["predicates"] = np.array([[ON], [FEEDS], [FEEDS], [FEEDS]])
    second = (1, 10)
    seen = {(second,): [1, 0, 0, 0]}
    # Only the second box looks like feeding.
    seen |= {pair: [0, 0, 1, 0] for pair in ((M, D), (D, M), (M, second), (second, M))}
    seen |= {pair: [0, 0, 0, 1] for pair in ((second, D), (D, second))}
    result = evaluate(given(tmp_path, monkeypatch, content), boxes=seen)
    assert result.counts["true triplets"] == 3, "one that stands twice counts twice"
    assert result.values()["predcls/R@20"] == 1.0
    content["boxes_1024"][5] = box(6, 0, 4, 10)  # 4 columns and the last of 11
    second = (6, 10)
    seen |= {(second,): [1, 0, 0, 0]}
    seen |= {pair: [0, 0, 1, 0] for pair in ((M, second), (second, M))}
    seen |= {pair: [0, 0, 0, 1] for pair in ((second, D), (D, second))}
    result = evaluate(given(tmp_path, monkeypatch, content), boxes=seen)
    assert result.values()["predcls/R@20"] == pytest.approx(1 / 3)


def test_certainty_of_names_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(triplets, "TOP", (4,))
    files = given(tmp_path, monkeypatch)
    # All six pairs are equally sure of their predicates, so each ranks behind the others.
    values = evaluate(files).values()
    assert values["predcls/R@4"] == values["sgcls/R@4"] == 0.0
    # The dog is hardly a dog, so its four pairs come last. Of the two others, one is true.
    values = evaluate(files, boxes={(D,): [0.98, 1, 0, 0]}).values()
    assert values["predcls/R@4"] == 0.0
    assert values["sgcls/R@4"] == pytest.approx(1 / 3)


def test_boxes_are_in_pixels_of_the_photo(tmp_path, monkeypatch):
    task = vg150_files.read(given(tmp_path, monkeypatch), Result({}, {}, "", ""))
    (scene,) = task.scenes
    assert scene.image_id == "9"
    np.testing.assert_allclose(scene.boxes[1], (20, 0, 30, 10), atol=0.05)
    assert scene.boxes[2][3] == 29, "within the last pixel"
    assert scene.labels == ["man", "dog", "grass"]
    assert task.known == {("man", ON - 1, "grass")}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"split": np.array([0, 2])}, "split and img_to_first_box .* have different lengths"),
        ({"labels": np.array([MAN] * 6)}, r"'labels' is an array \(6,\)"),
        ({"labels": np.array([[MAN]] * 5 + [[4]])}, "'labels' has 1 to 4, expected 1 to 3"),
        ({"predicates": np.array([[0.5]] * 4)}, "'predicates' is an array .* float64"),
        (
            {"predicates": np.array([[ON], [0], [ON], [ON]])},
            "'predicates' has 0 to 1, expected 1 to 2",
        ),
        ({"img_to_last_box": np.array([1, 2, 6])}, "photo 2: its boxes or relations lie outside"),
        ({"relationships": np.array([[0, 1], [2, 4], [3, 5], [4, 5]])}, "that another photo has"),
        ({"split": np.array([0, 2, 0])}, "no photo of the test split has a relation"),
    ],
)
def test_graphs_that_cannot_be_used_are_named(tmp_path, monkeypatch, changes, told):
    files = given(tmp_path, monkeypatch, arrays(**changes))
    with pytest.raises(SuiteError, match=told):
        vg150_files.read(files, Result({}, {}, "", ""))


@pytest.mark.parametrize(
    ("words", "photos", "told"),
    [
        (WORDS, (7, 8), "2 photos, and .* has 3"),
        (WORDS | {"label_to_idx": {"a": 0, "b": 1}}, (7, 8, 9), "doesn't number its words from 1"),
        (WORDS | {"label_to_idx": {"a": 1}}, (7, 8, 9), "nothing to tell apart"),
        ({"label_to_idx": {"a": 1, "b": 2}}, (7, 8, 9), "no field 'predicate_to_idx'"),
        ([], (7, 8, 9), "no field 'label_to_idx'"),
    ],
)
def test_words_that_do_not_fit_are_named(tmp_path, monkeypatch, words, photos, told):
    files = given(tmp_path, monkeypatch, words=words or [1], photos=photos)
    with pytest.raises(SuiteError, match=told):
        vg150_files.read(files, Result({}, {}, "", ""))


def test_hdf5_needs_an_extra(tmp_path, monkeypatch):
    (tmp_path / "VG-SGG.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SuiteError, match=r"needs h5py.*pip install 'scenarioclip_jax\[vg150\]'"):
        vg150_files.read_arrays(tmp_path / "VG-SGG.h5", {})


def test_hdf5_files_are_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "VG-SGG.h5"
    with h5py.File(path, "w") as file:
        for name, values in arrays().items():
            file[name] = values
    digests = {}
    found = vg150_files.read_arrays(path, digests)
    for name, values in arrays().items():
        np.testing.assert_array_equal(found[name], values)
    assert len(digests[str(path)]) == 64
    with h5py.File(path, "a") as file:
        del file["labels"]
    with pytest.raises(SuiteError, match="no list 'labels' in it; it has boxes_1024"):
        vg150_files.read_arrays(path, {})
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SuiteError, match=r"VG-SGG\.h5 isn't a readable HDF5 file"):
        vg150_files.read_arrays(path, {})
    path.write_text("<html>")
    with pytest.raises(SuiteError, match=r"VG-SGG\.h5 can't be read: it is an HTML page"):
        vg150_files.read_arrays(path, {})


def test_missing_files_are_named(tmp_path):
    with pytest.raises(SuiteError, match=r"no VG-SGG\.h5 or VG-SGG-with-attri\.h5 there"):
        vg150_files.read(Files(tmp_path, (tmp_path,)), Result({}, {}, "", ""))
