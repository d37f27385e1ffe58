"""Videos become photos, once each."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from scenarioclip_jax.annotate.command import main
from scenarioclip_jax.annotate.frame_index import Index, read_index
from scenarioclip_jax.files import UNFINISHED
from scenarioclip_jax.shell import to_paste
from tests.annotate.video_files import write_sound, write_video


def times(seconds):
    return range(0, seconds * 1000, 250)


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    write_video(folder / "kitchen/making_tea/a.mp4", times(3))
    write_video(folder / "kitchen/making_tea/a b.mkv", [7000, 7900, 9100], codec="libx264")
    write_video(folder / "top.mov", times(2))
    return folder


def run(videos, *more, code=0, workers=1):
    frames = videos.parent / "frames"
    flags = ["--videos", str(videos), "--output", str(frames), "--workers", str(workers)]
    assert main(["frames", *flags, *more]) == code
    return frames


def made(frames):
    """Each file with what changes when it is written again."""
    files = (path for path in frames.rglob("*") if path.is_file())
    found = {str(path.relative_to(frames)): path.stat() for path in files}
    return {
        name: (stat.st_ino, stat.st_mtime_ns)
        for name, stat in found.items()
        if name != "frames.jsonl"
    }


EXPECTED = {
    *(f"kitchen/making_tea/a/{second:06}000.jpg" for second in range(3)),
    *("kitchen/making_tea/a b/000000000.jpg", "kitchen/making_tea/a b/000002100.jpg"),
    *("top/000000000.jpg", "top/000001000.jpg"),
}


@pytest.mark.parametrize("workers", [1, 2])
def test_frames_lie_in_a_folder_for_each_video(videos, capsys, workers):
    frames = run(videos, workers=workers)
    assert made(frames).keys() == EXPECTED
    out = capsys.readouterr().out
    assert out.startswith("frames: 3 done; 7 frames")
    assert to_paste(f"--images={frames}") in out
    with Image.open(frames / "top/000000000.jpg") as picture:
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (64, 48), "RGB")
    lines = read_index(frames)
    assert {id: (line["state"], line["frames"]) for id, line in lines.items()} == {
        "kitchen/making_tea/a b.mkv": ("done", 2),
        "kitchen/making_tea/a.mp4": ("done", 3),
        "top.mov": ("done", 2),
    }
    assert not any("action" in line for line in lines.values())


def test_a_second_run_makes_nothing(videos, capsys):
    frames = run(videos)
    before, index = made(frames), (frames / "frames.jsonl").read_bytes()
    run(videos)
    assert made(frames) == before
    assert (frames / "frames.jsonl").read_bytes() == index
    assert "frames: 3 kept" in capsys.readouterr().out


def test_a_changed_video_is_made_anew_and_its_old_frames_go(videos):
    frames = run(videos)
    (frames / "top/cover.jpg").write_bytes(b"somebody else's")
    before = made(frames)
    write_video(videos / "top.mov", [0, 2600, 2700])
    after = made(run(videos))
    assert after.keys() == EXPECTED - {"top/000001000.jpg"} | {
        "top/000002600.jpg",
        "top/cover.jpg",
    }
    again = {name for name in after if after[name] != before.get(name)}
    assert again == {"top/000000000.jpg", "top/000002600.jpg"}


def test_other_settings_make_all_anew(videos):
    frames = run(videos)
    run(videos, "--every", "2")
    assert {name for name in made(frames) if name.startswith(("top", "kitchen/making_tea/a/"))} == {
        *("top/000000000.jpg", "kitchen/making_tea/a/000000000.jpg"),
        "kitchen/making_tea/a/000002000.jpg",
    }
    run(videos, "--every", "2", "--max-side", "32")
    with Image.open(frames / "top/000000000.jpg") as picture:
        assert picture.size == (32, 24)


def test_the_action_is_the_folders_name_and_makes_no_frame_anew(videos):
    frames = run(videos)
    before = made(frames)
    run(videos, "--action-from-folder")
    assert made(frames) == before
    lines = read_index(frames)
    assert {id: (line.get("action"), line["state"]) for id, line in lines.items()} == {
        "kitchen/making_tea/a b.mkv": ("making tea", "done"),
        "kitchen/making_tea/a.mp4": ("making tea", "done"),
        "top.mov": (None, "done"),
    }
    run(videos)
    assert not any("action" in line for line in read_index(frames).values())
    assert made(frames) == before


def test_failures_are_counted_by_kind_and_others_go_on(videos, capsys):
    (videos / "empty.mp4").touch()
    (videos / "text.mkv").write_text("this is no video")
    write_sound(videos / "sound.mp4")
    (videos / "gone.mp4").symlink_to(videos / "absent.mp4")
    os.mkfifo(videos / "pipe.mp4")
    shutil.copy(videos / "top.mov", videos / "top.mp4")
    shutil.copy(videos / "top.mov", videos / "frames.jsonl.mp4")
    shutil.copy(videos / "top.mov", os.fsencode(videos) + b"/\xff.mp4")
    (videos / ".hidden.mp4").touch()
    frames = run(videos)
    assert made(frames).keys() == EXPECTED
    out = capsys.readouterr().out
    assert out.startswith("frames: 8 failed, 3 done; 7 frames")
    kinds = {id: line["kind"] for id, line in read_index(frames).items() if "kind" in line}
    assert kinds == {
        "empty.mp4": "empty",
        "text.mkv": "not_a_video",
        "sound.mp4": "no_picture",
        "gone.mp4": "not_readable",
        "pipe.mp4": "not_readable",
        "top.mp4": "same_name",
        "frames.jsonl.mp4": "file_name",
        "\\udcff.mp4": "file_name",
    }
    for id, kind in kinds.items():
        assert f" x {kind}\n" in out
        assert f"    {id}: " in out
    assert "top.mov has the same name but for its suffix" in out
    before = made(frames)
    run(videos)
    assert made(frames) == before


def test_it_fails_if_no_video_gives_a_frame(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").touch()
    run(tmp_path / "videos", code=1)


def test_a_video_that_breaks_loses_its_frames_and_its_folder(videos):
    frames = run(videos)
    (videos / "top.mov").write_bytes(b"")
    run(videos)
    assert made(frames).keys() == {name for name in EXPECTED if not name.startswith("top")}
    assert not (frames / "top").exists()
    write_video(videos / "top.mov", times(2))
    run(videos)
    assert made(frames).keys() == EXPECTED


def test_the_video_that_has_a_folder_keeps_it_until_it_is_gone(videos):
    frames = run(videos)
    before = made(frames)
    write_video(videos / "top.avi", [0])  # comes before top.mov by its name
    run(videos)
    assert made(frames) == before
    assert read_index(frames)["top.avi"]["kind"] == "same_name"
    (videos / "top.mov").rename(videos / "elsewhere.mov")
    run(videos)
    assert {name for name in made(frames) if name.startswith("top")} == {"top/000000000.jpg"}
    assert read_index(frames)["top.mov"]["kind"] == "gone"
    (videos / "top.avi").unlink()
    (videos / "elsewhere.mov").rename(videos / "top.mov")
    run(videos)
    assert {name for name in made(frames) if name.startswith("top")} == {
        *("top/000000000.jpg", "top/000001000.jpg")
    }


def test_frames_of_videos_that_are_gone_stay(videos, capsys):
    frames = run(videos)
    before = made(frames)
    (videos / "top.mov").unlink()
    run(videos)
    assert made(frames) == before
    assert "1 videos of earlier runs are gone; their frames stay" in capsys.readouterr().out


def test_errors_name_the_remedy(videos, capsys):
    frames = videos.parent / "frames"
    with Index(frames):
        run(videos, code=1)
        assert "another process writes frames there" in capsys.readouterr().err
    run(videos.parent / "absent", code=1)
    assert "name the folder of your videos" in capsys.readouterr().err
    assert main(["frames", "--videos", str(videos), "--output", str(videos)]) == 1
    assert "holds other files; name a new folder" in capsys.readouterr().err
    for flags in (["--every", "0"], ["--every", "nan"], ["--max-side", "0"], ["--workers", "-1"]):
        with pytest.raises(SystemExit):
            main(["frames", "--videos", str(videos), "--output", str(frames), *flags])
        assert f"argument {flags[0]}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_some_moments_it_leaves_nothing_half_done_and_makes_nothing_twice(
    tmp_path, workers
):
    videos, frames = tmp_path / "videos", tmp_path / "frames"
    pictures = [Image.effect_noise((640, 360), 90).convert("RGB") for _ in range(40)]
    for number in range(6):
        write_video(videos / f"{number}.mp4", range(0, 40_000, 1000), pictures, quality=20)
    command = [sys.executable, "-m", "scenarioclip_jax.annotate", "frames", "--videos", str(videos)]
    command += ["--output", str(frames), f"--workers={workers}"]
    seen, killed, draw = {}, 0, random.Random(workers)
    for moment in sorted(draw.randrange(200) for _ in range(6)):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and len(list(frames.glob("*/*.jpg"))) <= moment:
                time.sleep(0.002)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
        time.sleep(0.5)  # its processes end with it
        now = made(frames)
        for path in frames.glob("*/[0-9]*.jpg"):
            with Image.open(path) as picture:
                picture.load()
        assert {name: now.get(name) for name in seen} == seen, "a frame was made twice, or lost"
        seen = {name: stat for name, stat in now.items() if UNFINISHED not in name}
    assert killed >= 4, "the run ended before it could be killed"
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = made(frames)
    assert {name: after[name] for name in seen} == seen
    assert after.keys() == {f"{v}/{second:06}000.jpg" for v in range(6) for second in range(40)}
    lines = [json.loads(line) for line in (frames / "frames.jsonl").open()]
    assert sorted(line["id"] for line in lines if line["state"] == "done") == [
        f"{number}.mp4" for number in range(6)
    ]
