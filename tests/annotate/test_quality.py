"""How scenes are compared with annotations that are true."""

import json

import pytest

from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.quality import measure, told
from scenarioclip_jax.annotate.work import open_work
from scenarioclip_jax.data.embedded.write import SIZE


def rewritten(folder, to, change):
    """Annotations in another folder, each changed; its path names the photo alone."""
    records = json.loads((folder / "metadata.json").read_text())["data"]
    for record in records:
        record["image_path"] = record["image_path"].removeprefix("images/")
        change(record)
        for relation in record["relations"]:
            relation[0] = ""
    to.mkdir()
    (to / "metadata.json").write_text(json.dumps({"data": records}))
    return to


def scale(record, x, y):
    for thing in record["objects"]:
        thing[1] = [value * (y if i % 2 else x) for i, value in enumerate(thing[1])]


def test_annotations_of_the_photos_in_another_size_give_the_same_figures(photos, tmp_path):
    photos.run()
    work = open_work(photos.work)
    wanted = measure(work, rewritten(photos.truth, tmp_path / "same", lambda record: None))
    assert wanted["detect"]["objects"]["recall"] == 1
    side = SIZE
    for number in (0.5, 3):

        def change(record, by=number):
            scale(record, by, by)
            record |= {"width": round(side * by), "height": round(side * by)}

        found = measure(work, rewritten(photos.truth, tmp_path / str(number), change))
        assert found == wanted


def test_boxes_of_another_size_that_is_not_given_are_an_error_and_so_is_another_shape(
    photos, tmp_path
):
    photos.run()
    work = open_work(photos.work)
    larger = rewritten(photos.truth, tmp_path / "larger", lambda record: scale(record, 3, 3))
    with pytest.raises(WorkError, match=r"of 24 photos .* a box reaches out .* `width`"):
        measure(work, larger)

    def other(record):
        record |= {"width": 640, "height": 480}

    shape = rewritten(photos.truth, tmp_path / "shape", other)
    with pytest.raises(WorkError, match=r"24 have .* scene_000000\.jpg: its size is given as"):
        measure(work, shape)


def test_a_few_photos_of_another_size_are_left_out_and_told(photos, tmp_path):
    photos.run()

    def change(record):
        if record["id"] in ("scene_000003", "scene_000004"):
            scale(record, 3, 3)

    found = measure(open_work(photos.work), rewritten(photos.truth, tmp_path / "some", change))
    assert found["left out"] == 2
    assert found["detect"]["objects"]["recall"] == 1
    assert "2 photos are left out" in told(found)


def test_actions_are_compared_too(photos, tmp_path):
    photos.run()
    work, number = open_work(photos.work), 0

    def change(record):
        nonlocal number
        number += 1
        if number % 2:
            record["action"] = "something else"
        else:
            record["action"] = record["action"].upper()

    found = measure(work, rewritten(photos.truth, tmp_path / "other", change))
    actions = found["validate"]["actions"]
    assert actions == {"recall": 0.5, "precision": 0.5, "right": 12, "given": 12 * 2, "true": 24}
    assert "actions" not in found["regions"]
    assert "folder" not in told(found)
    assert "validate  actions        50.0%      50.0%      12      24      24" in told(found)
