"""Photos that can't be read, or aren't there: each is told of, and none ends the run of the others."""

import errno
import json
import os
import re
import shutil

import pytest

from scenarioclip_jax.annotate.command import main
from scenarioclip_jax.data.photo_listing import found_below
from scenarioclip_jax.shell import to_paste
from tests.annotate.conftest import COUNT


def summary(work):
    return json.loads((work / "dataset/assemble.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "photos", "detect", "assemble", "status", "labels"])
def test_a_photos_folder_that_is_gone_is_an_error(photos, capsys, command):
    photos.run()
    shutil.move(photos.images, photos.images.with_name("moved"))
    capsys.readouterr()
    assert main([command, "--output", str(photos.work)]) == 1
    told = capsys.readouterr().err
    assert str(photos.images) in told, told
    assert "work.json" in told, "the error says where to write the new path"


def test_unreadable_photos_are_counted_as_missing(photos, capsys):
    (photos.images / "empty.jpg").touch()
    photos.run()
    assert "1 failed in photos" in capsys.readouterr().out
    assert summary(photos.work)["missing"] == {"failed in photos": 1}


def test_unreadable_photos_that_are_given_up_are_still_told_of(photos, capsys):
    (photos.images / "empty.jpg").touch()
    for _ in range(3):
        photos.run(command="photos")
    capsys.readouterr()
    photos.run(command="photos")
    assert "1 given up" in capsys.readouterr().out


def test_links_in_a_circle_and_links_to_nothing_fail_alone(photos, capsys):
    (photos.images / "circle.jpg").symlink_to("circle.jpg")
    (photos.images / "nothing.jpg").symlink_to("nowhere.jpg")
    photos.run()
    assert summary(photos.work)["counts"]["scenes"] == COUNT
    assert summary(photos.work)["missing"] == {"failed in photos": 2}
    capsys.readouterr()
    photos.run(command="status")
    told = capsys.readouterr().out
    assert "circle.jpg" in told
    assert "nothing.jpg" in told


def test_a_link_to_a_folder_above_gives_no_photo_twice(photos):
    (photos.images / "again").symlink_to(".")
    assert len(list(found_below(photos.images, follow_links=True))) == COUNT


def test_two_links_to_one_folder_give_its_photos_twice(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.jpg").touch()
    (tmp_path / "images").mkdir()
    for name in ("one", "two"):
        (tmp_path / "images" / name).symlink_to(tmp_path / "elsewhere")
    assert list(found_below(tmp_path / "images", follow_links=True)) == ["one/a.jpg", "two/a.jpg"]


def test_a_link_out_of_the_folder_says_which_flag_allows_it(photos, capsys, tmp_path):
    shutil.copy(photos.images / "scene_000001.jpg", tmp_path / "outside.jpg")
    (photos.images / "out.jpg").symlink_to(tmp_path / "outside.jpg")
    photos.run(command="photos")
    told = re.search(r"such as out\.jpg.*", capsys.readouterr().out)
    assert told
    assert "--follow-links" in told[0]
    assert "--images=" not in told[0], "that flag takes one folder here"


def test_a_file_name_that_is_not_utf8_stays_counted(photos, capsys):
    bad = os.fsencode(photos.images) + b"/bad\xff.jpg"
    try:
        shutil.copy(photos.images / "scene_000001.jpg", bad)
    except OSError:
        pytest.skip("the file system takes no such names")
    for share in ("0/2", "1/2"):
        photos.run("--shard", share, command="photos")
    photos.run(command="assemble", code=1)  # nothing but photos was done
    capsys.readouterr()
    photos.run(command="status")
    told = capsys.readouterr().out
    assert "photos: 1 x file_name" in told
    assert re.search(r"photos +24 +1 +0 +0 +0", told), told
    for share in ("0/2", "1/2") * 3:
        photos.run("--shard", share, command="photos")
    capsys.readouterr()
    photos.run(command="status")
    assert "1 aren't tried again by themselves" in capsys.readouterr().out


def test_an_empty_folder_of_photos_says_what_is_looked_for(photos, capsys, tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "none/notes.txt").touch()
    other = photos._replace(images=tmp_path / "none")
    other.run(code=1)
    told = capsys.readouterr().err
    assert str(tmp_path / "none") in told
    assert ".jpg" in told
    assert "--follow-links" in told


def test_when_filters_leave_nothing_they_are_named(photos, capsys):
    photos.configure(validate={"min_objects": 1000})
    photos.run(code=1)
    assert "24 scene_few_objects" in capsys.readouterr().err


def test_each_missing_photo_is_listed_with_its_reason(photos):
    (photos.images / "empty.jpg").touch()
    shutil.copy(photos.images / "scene_000001.jpg", photos.images / "unknown.jpg")
    photos.run()
    lines = map(json.loads, (photos.work / "dataset/removed.jsonl").open())
    listed = {line["id"]: (line["filter"], line["detail"]) for line in lines}
    assert set(listed) == {"empty.jpg", "unknown.jpg"}
    assert listed["unknown.jpg"][0] == "failed in caption"
    assert "no_truth" in listed["unknown.jpg"][1]
    assert listed["empty.jpg"][0] == "failed in photos"
    assert "the file is empty" in listed["empty.jpg"][1]


def test_a_full_disk_names_the_file_that_assemble_writes(photos, capsys, monkeypatch):
    photos.run()

    def full(value):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("scenarioclip_jax.annotate.assemble._line", full)
    photos.run(command="assemble", code=1)
    assert str(photos.work / "dataset") in capsys.readouterr().err


def test_truth_of_other_photos_is_an_error(photos, capsys, tmp_path):
    photos.run()
    file = photos.truth / "metadata.json"
    content = json.loads(file.read_text())
    for record in content["data"]:
        record["image_path"] = record["image_path"].replace("scene", "other")
    (tmp_path / "others").mkdir()
    (tmp_path / "others/metadata.json").write_text(json.dumps(content))
    truth = str(tmp_path / "others")
    assert main(["quality", "--output", str(photos.work), "--truth", truth]) == 1
    told = capsys.readouterr().err
    assert f"--truth={truth}" in told
    assert "other_0000" in told, "an example of the truth's paths"


def test_truth_that_cannot_be_read_names_its_flag(photos, capsys, tmp_path):
    photos.run()
    capsys.readouterr()
    absent = str(tmp_path / "absent")
    assert main(["quality", "--output", str(photos.work), "--truth", absent]) == 1
    told = capsys.readouterr().err
    assert f"--truth={absent}" in told
    assert "truth.folder" not in told


def test_a_share_ends_with_a_command_to_paste(photos, capsys):
    photos.run("--shard", "0/2")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(f"assemble {to_paste(f'--output={photos.work}')}"), last


def test_attempts_that_are_out_of_range_are_named_once(photos, capsys):
    photos.configure()
    photos.config.write_text('{"attempts": 0}')
    photos.run(code=1)
    assert ": attempts: 0 should be 1 or more" in capsys.readouterr().err
