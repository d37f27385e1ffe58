"""Frames of one video stay together from the first stage to the shards, and have its action."""

import gzip
import json
import shutil
from collections import Counter, defaultdict

import pytest
import tensorflow_datasets as tfds
from PIL import Image

from scenarioclip_jax.annotate import show
from scenarioclip_jax.annotate.command import main
from scenarioclip_jax.annotate.frame_index import NAME, Sources
from scenarioclip_jax.annotate.quality import measure, told
from scenarioclip_jax.annotate.stages import NAMES
from scenarioclip_jax.annotate.work import open_work
from scenarioclip_jax.data.build.command import main as build
from scenarioclip_jax.data.embedded.write import write_embedded
from tests.annotate.conftest import Folder
from tests.annotate.video_files import write_video

VIDEOS, EACH = 12, 4


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """Videos of drawn scenes, one scene a second, and the true annotations of the frames."""
    folder = tmp_path_factory.mktemp("filmed")
    write_embedded(folder / "drawn", VIDEOS * EACH, seed=5)
    records = json.loads((folder / "drawn/metadata.json").read_text())["data"]
    for number in range(VIDEOS):
        own = records[number * EACH : (number + 1) * EACH]
        pictures = []
        for second, record in enumerate(own):
            with Image.open(folder / "drawn" / record["image_path"]) as picture:
                pictures.append(picture.convert("RGB"))
            record["image_path"] = f"act_{number % 3}/{number:02}/{second:06}000.jpg"
            record["id"] = record["image_path"]
            record.pop("split", None)
        file = folder / f"videos/act_{number % 3}/{number:02}.mp4"
        write_video(file, range(0, EACH * 1000, 1000), pictures)
    (folder / "truth").mkdir()
    (folder / "truth/metadata.json").write_text(json.dumps({"data": records}))
    return folder


@pytest.fixture
def frames(filmed, tmp_path):
    """The frames of the videos, with the action from the folder."""
    folder = Folder(
        filmed / "truth", tmp_path / "frames", tmp_path / "work", tmp_path / "annotate.yaml"
    )
    folder.configure()
    make(filmed, folder, "--action-from-folder")
    return folder


def make(filmed, folder, *flags):
    command = ["frames", "--videos", str(filmed / "videos"), "--output", str(folder.images)]
    assert main([*command, "--workers=1", *flags]) == 0


def scenes(work):
    with gzip.open(work / "dataset/metadata.jsonl.gz", "rt", encoding="utf-8") as file:
        return {record["id"]: record for record in map(json.loads, file)}


def lines(work):
    return Counter(
        {path.parent.name: len(path.read_text().splitlines()) for path in work.glob("*/*-of-*")}
    )


def video_of(id):
    return id.rpartition("/")[0] + ".mp4"


@pytest.mark.slow
def test_frames_of_a_video_are_in_one_split_of_the_shards(frames, tmp_path):
    frames.configure(assemble={"duplicates": "keep"})
    frames.run()
    found = scenes(frames.work)
    assert len(found) == VIDEOS * EACH
    for id, scene in found.items():
        assert scene["group"] == video_of(id)
        assert scene["action"] == f"act {id[4]}"
    shards = tmp_path / "shards"
    flags = [f"--metadata={frames.work}/dataset", f"--images={frames.images}"]
    assert build([*flags, f"--output={shards}", "--fractions=0.4,0.3,0.3"]) == 0
    splits = defaultdict(set)
    (info,) = shards.rglob("dataset_info.json")
    builder = tfds.builder_from_directory(str(info.parent))
    seen = 0
    for split in builder.info.splits:
        for example in builder.as_data_source(split=split):
            id = example["id"]
            splits[video_of(id.decode() if isinstance(id, bytes) else id)].add(split)
            seen += 1
    assert seen == VIDEOS * EACH
    assert len(splits) == VIDEOS
    assert all(len(each) == 1 for each in splits.values()), splits
    assert len(set().union(*splits.values())) > 1, (
        "all videos are in one split, which shows nothing"
    )


@pytest.mark.slow
def test_videos_that_share_a_picture_are_one_group(frames):
    names = sorted(str(path.relative_to(frames.images)) for path in frames.images.rglob("*.jpg"))
    one, other = names[0], names[-1]
    shutil.copy(frames.images / one, frames.images / other)
    frames.run()
    found = scenes(frames.work)
    expected = min(video_of(one), video_of(other))
    for id, scene in found.items():
        joined = video_of(id) in (video_of(one), video_of(other))
        assert scene["group"] == (expected if joined else video_of(id))
    frames.configure(assemble={"duplicates": "drop"})
    frames.run(command="run")
    found = scenes(frames.work)
    assert one in found
    assert other not in found
    assert len(found) == VIDEOS * EACH - 1


def test_another_action_changes_the_scenes_and_makes_no_stage_stale(filmed, frames, capsys):
    frames.run()
    before = lines(frames.work)
    make(filmed, frames)  # without the action
    capsys.readouterr()
    assert main(["status", "--output", str(frames.work)]) == 0
    assert f"{VIDEOS * EACH}" in capsys.readouterr().out.splitlines()[1]
    frames.run()
    more = lines(frames.work) - before
    assert set(more) == {"photos"}, "a stage was run again"
    assert not any(more[stage] for stage in NAMES)
    truth = json.loads((filmed / "truth/metadata.json").read_text())["data"]
    actions = {record["image_path"]: record["action"] for record in truth}
    assert {id: scene["action"] for id, scene in scenes(frames.work).items()} == actions


@pytest.mark.slow
def test_labels_see_the_action_of_the_folder(frames):
    frames.run()
    assert main(["labels", "--output", str(frames.work)]) == 0
    (table,) = frames.work.glob("labels*")
    assert "act 1" in table.read_text()


@pytest.mark.slow
def test_quality_and_show_tell_the_action_of_the_folder(filmed, frames, tmp_path, monkeypatch):
    frames.run()
    found = measure(open_work(frames.work), filmed / "truth")
    assert found["actions of folders"] == VIDEOS * EACH
    assert found["validate"]["actions"]["right"] == 0, "the captioner's are the true ones"
    assert f"{VIDEOS * EACH} scenes have the action of their video's folder" in told(found)
    texts = []
    monkeypatch.setattr(show, "list_beside", lambda *arguments: texts.append(arguments[-1]))
    show.draw(open_work(frames.work), "act_1/01/000000000.jpg", tmp_path / "a.png")
    assert "ACTION act 1 (of the video's folder;" in texts[0]


def test_a_record_holds_where_its_photo_comes_from(frames):
    frames.run(command="photos")
    path = frames.work / "photos/0-of-1.jsonl"
    for line in map(json.loads, path.open()):
        action = line["id"][:5].replace("_", " ")
        assert line["source"] == {"group": video_of(line["id"]), "action": action}


def test_photos_beside_frames_have_no_group_and_parts_of_frames_do(frames, tmp_path):
    (frames.images / "mine").mkdir()
    find = Sources(frames.images).find
    assert find("mine/a.jpg") == find("a.jpg") == find("act_0/a.jpg") == {}
    group = {"group": "act_0/00.mp4", "action": "act 0"}
    assert find("act_0/00/000000000.jpg") == group
    assert Sources(frames.images / "act_0").find("00/000000000.jpg") == group
    assert Sources(frames.images / "act_0/00").find("000000000.jpg") == group
    above = Sources(tmp_path).find("frames/act_0/00/000000000.jpg")
    assert above == group | {"group": "frames/act_0/00.mp4"}


def test_frames_of_a_run_that_was_killed_have_their_group(frames):
    index = frames.images / NAME
    kept = [line for line in index.read_text().splitlines() if '"state":"begun"' in line]
    assert len(kept) == VIDEOS
    index.write_text("".join(f"{line}\n" for line in kept))
    frames.run()
    assert {scene["group"] for scene in scenes(frames.work).values()} == {
        json.loads(line)["id"] for line in kept
    }


def test_a_file_of_that_name_that_is_somebody_elses_is_passed_over(photos):
    (photos.images / NAME).write_text('{"frame": 1}\nno JSON\n[]\n{"id": "a", "key": "b"}\n')
    photos.run()
    assert not any("group" in scene for scene in scenes(photos.work).values())
