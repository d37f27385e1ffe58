"""The pipeline as a whole, on drawn photos whose truth stands in for the models."""

import gzip
import json
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax.annotate.command import main
from scenarioclip_jax.annotate.quality import measure
from scenarioclip_jax.annotate.settings import Settings
from scenarioclip_jax.annotate.stages import asked_for
from scenarioclip_jax.annotate.work import open_work
from scenarioclip_jax.data.build.command import main as build
from scenarioclip_jax.drawing import COLORS
from tests.annotate.conftest import COUNT

NAMES = tuple(stage.name for stage in asked_for(Settings()))  # without `verify`, which is off


def scenes(work):
    with gzip.open(work / "dataset/metadata.jsonl.gz", "rt", encoding="utf-8") as file:
        return {record["id"]: record for record in map(json.loads, file)}


def written(work):
    """How many lines each stage has for each photo."""
    found = Counter()
    for path in work.glob("*/*-of-*.jsonl"):
        found.update((path.parent.name, json.loads(line)["id"]) for line in path.open())
    return found


def table(work, capsys):
    capsys.readouterr()
    assert main(["status", "--output", str(work)]) == 0
    count = 1 + len(asked_for(open_work(work).settings))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    # Columns: done, failed, stale, to do (two words in the head), waiting.
    return {row[0]: [int(n.replace(",", "")) for n in row[1:6]] for row in rows[1 : 1 + count]}


def test_photos_become_a_data_set_that_can_be_built(photos, capsys, tmp_path):
    photos.run()
    told = capsys.readouterr().out
    found = scenes(photos.work)
    assert len(found) == COUNT
    for record in json.loads((photos.truth / "metadata.json").read_text())["data"]:
        scene = found[record["image_path"].removeprefix("images/")]
        assert scene["action"] == record["action"]
        names = [thing["name"] for thing in scene["objects"]]
        assert sorted(names) == sorted(name for name, _ in record["objects"])
        triplets = [
            (names[r["subject"]], r["predicate"], names[r["object"]]) for r in scene["relations"]
        ]
        assert sorted(triplets) == sorted(tuple(r[1]) for r in record["relations"])
    lines = told.splitlines()
    command = shlex.split(lines[lines.index("Go on with:") + 1])
    assert command[:3] == ["python", "-m", "scenarioclip_jax.data.build"]
    assert build(command[3:]) == 0
    assert "problem" not in capsys.readouterr().err.lower()


@pytest.mark.slow
def test_a_photo_is_shown_with_all_that_is_known_of_it(photos, capsys, tmp_path):
    photos.run()
    id, scene = next((id, s) for id, s in scenes(photos.work).items() if s["relations"])
    show = ["show", "--output", str(photos.work)]
    assert main([*show, id, "--to", str(tmp_path / "a.png")]) == 0
    assert main([*show, f"./{id}", "--to", str(tmp_path / "b.png")]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    capsys.readouterr()
    assert main([*show, id]) == 0
    assert capsys.readouterr().out.strip() == str(photos.work / "shown" / f"{id}.png")
    # Boxes in the colors of drawing.COLORS: as many as there are objects, up to seven.
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), int)
    drawn = [
        (np.abs(pixels - [int(color[i : i + 2], 16) for i in (1, 3, 5)]).max(-1) < 12).sum() > 40
        for color in COLORS
    ]
    assert sum(drawn[: len(scene["objects"])]) == min(len(scene["objects"]), len(COLORS))
    assert main([*show, "nowhere.jpg"]) == 1
    assert "nowhere.jpg: isn't among the listed photos" in capsys.readouterr().err


def test_a_second_run_does_nothing_and_gives_the_same_bytes(photos):
    photos.run()
    before, lines = (photos.work / "dataset/metadata.jsonl.gz").read_bytes(), written(photos.work)
    photos.run()
    assert (photos.work / "dataset/metadata.jsonl.gz").read_bytes() == before
    assert written(photos.work) == lines
    assert set(lines.values()) == {1}


@pytest.mark.slow
def test_shares_together_make_what_one_process_makes(photos, tmp_path):
    photos.run()
    whole = (photos.work / "dataset/metadata.jsonl.gz").read_bytes()
    other = photos._replace(work=tmp_path / "shares")
    for share in ("2/3", "0/3", "1/3"):
        other.run("--shard", share)
    other.run(command="assemble")
    assert (other.work / "dataset/metadata.jsonl.gz").read_bytes() == whole
    assert set(written(other.work).values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "change"),
    [
        ("detect", {"threshold": 0.5}),
        ("regions", {"nearness": 0.1}),
        ("negatives", {"seed": 1}),
        ("validate", {"min_score": 0.6}),
    ],
)
def test_a_changed_setting_makes_its_stage_and_those_after_it_stale(photos, capsys, stage, change):
    if stage == "detect":  # the truth in place of the detector reads no threshold
        stage, change = "caption", {"seed": 5}
        photos.run()
        photos.configure(truth=change)
    else:
        photos.run()
        photos.configure(**{stage: change})
    lines = written(photos.work)
    # The stage before it runs with the new settings, and has nothing to do.
    photos.run(command="photos")
    found = table(photos.work, capsys)
    after = NAMES[NAMES.index(stage) :]
    for name in NAMES:
        assert found[name] == ([0, 0, COUNT, 0, 0] if name in after else [COUNT, 0, 0, 0, 0]), name
    photos.run()
    more = written(photos.work) - lines
    assert {name for name, _ in more} == set(after)
    assert set(table(photos.work, capsys)[name][0] for name in NAMES) == {COUNT}


def test_a_changed_photo_is_done_again_and_a_removed_one_is_gone(photos, capsys):
    photos.run()
    lines = written(photos.work)
    names = sorted(path.name for path in photos.images.iterdir())
    with Image.open(photos.images / names[0]) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos.images / names[0])
    (photos.images / names[1]).unlink()
    (photos.images / names[2]).touch()  # a new time, the same content
    photos.run()
    more = written(photos.work) - lines
    assert {id for stage, id in more if stage == "photos"} == {names[0], names[2]}
    assert {id for stage, id in more if stage != "photos"} == {names[0]}
    assert names[1] not in scenes(photos.work)
    assert len(scenes(photos.work)) == COUNT - 1


@pytest.mark.slow
def test_failures_are_counted_tried_again_a_few_times_and_forgiven_when_asked(photos, capsys):
    shutil.copy(next(photos.images.iterdir()), photos.images / "unknown.jpg")
    (photos.images / "broken.jpg").write_bytes(b"\xff\xd8 this is no photo")
    photos.run()
    assert "no_truth" in capsys.readouterr().out
    assert table(photos.work, capsys)["photos"][:2] == [COUNT + 1, 1]
    assert table(photos.work, capsys)["caption"] == [COUNT, 1, 0, 0, 0]
    assert table(photos.work, capsys)["detect"] == [COUNT, 0, 0, 0, 1]

    def tries():
        return written(photos.work)["caption", "unknown.jpg"]

    photos.run()
    photos.run()
    assert tries() == 3
    photos.run()
    assert tries() == 3, "a photo that failed three times is tried again"
    assert "1 given up" in capsys.readouterr().out
    photos.run("--kind", "other", command="retry")
    photos.run()
    assert tries() == 3
    photos.run("--stage", "caption", "--kind", "no_truth", command="retry")
    photos.run()
    assert tries() == 4
    assert len(scenes(photos.work)) == COUNT
    summary = json.loads((photos.work / "dataset/assemble.json").read_text())
    assert summary["missing"] == {"failed in caption": 1, "failed in photos": 1}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_twenty_moments_it_loses_nothing_and_makes_nothing_twice(photos, tmp_path):
    photos.configure(verify={"enabled": True})
    photos.run()
    whole = (photos.work / "dataset/metadata.jsonl.gz").read_bytes()
    work = tmp_path / "killed"
    command = [sys.executable, "-m", "scenarioclip_jax.annotate", "run", "--output", str(work)]
    command += ["--images", str(photos.images), "--config", str(photos.config)]
    total, draw, killed = sum(written(photos.work).values()), random.Random(0), 0
    moments = sorted(draw.randrange(total) for _ in range(20))
    for moment in moments:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and sum(size(work)) <= moment:
                time.sleep(0.001)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
    assert killed >= 15, "the run ended before it could be killed"
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert (work / "dataset/metadata.jsonl.gz").read_bytes() == whole
    assert set(written(work).values()) == {1}


def size(work):
    """Lines so far, by file."""
    return [path.read_bytes().count(b"\n") for path in work.glob("*/*-of-*.jsonl")]


def test_what_has_errors_is_measured(photos):
    photos.configure(truth={"missed": 0.3, "wrong": 0.25, "shifted": 0.1})
    photos.run()
    found = measure(open_work(photos.work), photos.truth)
    assert found["photos"] == COUNT
    objects, triplets = found["detect"]["objects"], found["regions"]["triplets"]
    assert 0.4 < objects["recall"] < 0.85
    assert triplets["precision"] < 0.95
    photos.configure()
    photos.run()
    found = measure(open_work(photos.work), photos.truth)
    assert found["detect"]["objects"]["recall"] == found["detect"]["objects"]["precision"] == 1
    assert found["validate"]["groundings"]["recall"] >= 0.99


def test_errors_name_the_remedy(photos, capsys, tmp_path):
    assert main(["status", "--output", str(tmp_path / "absent")]) == 1
    assert "give --images to make it one" in capsys.readouterr().err
    photos.run()
    other = tmp_path / "others"
    other.mkdir()
    assert main(["run", "--output", str(photos.work), "--images", str(other)]) == 1
    assert "name another --output for others" in capsys.readouterr().err
    assert main(["run", "--output", str(photos.images / "w"), "--images", str(photos.images)]) == 1
    assert "lies in the photos' folder" in capsys.readouterr().err
    assert main(["run", "--output", str(other), "--images", str(photos.images / "absent")]) == 1
    assert "isn't a folder" in capsys.readouterr().err
    (photos.work / "dataset/metadata-mine.json").write_text("{}")
    assert main(["assemble", "--output", str(photos.work)]) == 1
    assert "metadata-mine.json, which the build would read, too" in capsys.readouterr().err


def test_without_the_extra_the_command_says_what_to_install():
    code = (
        "import sys, runpy\n"
        "sys.modules['rapidfuzz'] = None\n"
        "sys.argv = ['annotate', '--help']\n"
        "runpy.run_module('scenarioclip_jax.annotate', run_name='__main__')"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "rapidfuzz isn't installed" in done.stderr
    assert "scenarioclip_jax[annotate]" in done.stderr
