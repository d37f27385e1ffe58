"""Building and reading back: shards, class lists, errors, interruptions, races."""

import contextlib
import json
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from scenarioclip_jax.data.build import chunks, make
from scenarioclip_jax.data.build import command as command_line
from scenarioclip_jax.data.build import dataset as build_lib
from scenarioclip_jax.data.build.dataset import build, ensure_embedded
from scenarioclip_jax.data.build.problems import AnnotationError
from scenarioclip_jax.data.embedded import write as embedded
from scenarioclip_jax.data.stored import masks, shards
from scenarioclip_jax.data.stored.splits import SPLITS, split_of
from tests.data.builder_inputs import CAT, DOG, photo, record, write_root

ALL_TRAIN = (1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    root = tmp_path_factory.mktemp("annotations") / "root"
    embedded.write_embedded(root, 60, seed=3)
    return root


@pytest.fixture(scope="module")
def data_dir(annotations, tmp_path_factory):
    output = tmp_path_factory.mktemp("data")
    build(annotations, output, num_shards=3, progress=False)
    return output


def _scenes(data_dir, split="train"):
    source = shards.open_split(data_dir, split)
    return [source[i] for i in range(len(source))]


def _assert_equal(a, b):
    """Compares nested tuples, lists and arrays."""
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    elif isinstance(a, tuple | list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            _assert_equal(x, y)
    else:
        assert a == b


def test_what_was_annotated_is_read_back(annotations, data_dir):
    records = {r["id"]: r for r in json.loads((annotations / "metadata.json").read_text())["data"]}
    seen = set()
    for split in SPLITS:
        for scene in _scenes(data_dir, split):
            assert split_of(scene.id) == split
            r = records[scene.id]
            seen.add(scene.id)
            assert scene.photo == (annotations / r["image_path"]).read_bytes()
            assert (scene.width, scene.height) == (96, 96)
            assert (scene.action, scene.captions) == (r["action"], [r["dense_caption"]])
            assert scene.object_names == [name for name, _ in r["objects"]]
            _assert_equal(scene.object_boxes, np.array([b for _, b in r["objects"]], np.float32))
            boxes = dict(r["objects"])
            for relation, (_, triplet, negatives) in zip(
                scene.relations, r["relations"], strict=True
            ):
                assert list(relation.triplet) == triplet
                assert [list(negative) for negative in relation.negatives] == negatives
                _assert_equal(
                    relation.boxes, np.array([boxes[triplet[0]], boxes[triplet[2]]], np.float32)
                )
                assert relation.mask == relation.image == b""
    assert seen == set(records)


def test_tfds_reads_the_same(data_dir):
    builder = tfds.builder_from_directory(shards.dataset_dir(data_dir))
    for split in SPLITS:
        source = builder.as_data_source(split)
        scenes = _scenes(data_dir, split)
        assert len(source) == len(scenes)
        for features, scene in zip(source, scenes, strict=True):
            assert features["photo"].shape == (96, 96, 3)
            del features["photo"]
            expected = shards.encode_scene(scene)
            del expected["photo"]
            _assert_same_features(features, expected)


def _assert_same_features(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            _assert_same_features(found[key], expected[key])
    elif isinstance(expected, list | np.ndarray):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            _assert_same_features(a, b)
    else:
        found = found.decode() if isinstance(expected, str) else found
        assert found == expected or (found != found and expected != expected)  # or both NaN


def test_number_of_shards(annotations, data_dir, tmp_path):
    folder = shards.dataset_dir(data_dir)
    for split in SPLITS:
        assert len(list(folder.glob(f"*-{split}.array_record-*-of-00003"))) == 3
    build(annotations, tmp_path, num_shards=20, progress=False)  # more than validation has scenes
    assert [s.id for s in _scenes(tmp_path)] == [s.id for s in _scenes(data_dir)]
    count = len(_scenes(tmp_path, "validation"))
    assert count < 20
    names = [p.name for p in shards.dataset_dir(tmp_path).glob("*-validation.array_record-*")]
    assert len(names) == count


def test_sources_pickle_small_and_reading_imports_neither_jax_nor_tfds(data_dir):
    source = shards.open_split(data_dir, "train")
    first = source[0]
    again = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 1000
    _assert_equal(again[0], first)
    code = (
        "import sys; from scenarioclip_jax.data.stored.shards import open_split;"
        f"open_split({str(data_dir)!r}, 'train')[0];"
        "print([m for m in ('jax', 'tensorflow_datasets', 'tensorflow', 'grain') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_indices_are_checked(data_dir):
    source = shards.open_split(data_dir, "train")
    assert source[np.int64(len(source) - 1)].id
    for index in (-1, len(source)):
        with pytest.raises(IndexError):
            source[index]


def test_class_lists_and_summary(annotations, data_dir):
    classes = json.loads((annotations / "classes.json").read_text())
    assert shards.load_classes(data_dir) == classes
    counts = shards.load_class_counts(data_dir)["actions"]
    for split in SPLITS:
        scenes = _scenes(data_dir, split)
        assert sum(count[split] for count in counts.values()) == len(scenes)
        assert counts[scenes[0].action][split] == sum(s.action == scenes[0].action for s in scenes)
    summary = shards.load_summary(data_dir)
    assert summary["splits"] == {split: len(_scenes(data_dir, split)) for split in SPLITS}
    assert summary["focus"]["boxes"] == sum(
        len(s.relations) for sp in SPLITS for s in _scenes(data_dir, sp)
    )
    assert summary["has_focus_images"] is False
    assert summary["problems"] == {}


def test_listed_and_occurring_classes_are_united(tmp_path):
    root = write_root(tmp_path / "root", record(), actions=["Waiting"], objects=["CAT"])
    build(root, tmp_path / "out", fractions=ALL_TRAIN, progress=False)
    assert shards.load_classes(tmp_path / "out") == {
        "actions": ["playing in the yard", "waiting"],
        "objects": ["cat", "dog"],
        "relations": ["cat playing with dog"],
    }


def test_masks_images_and_scenes_without_anything_survive(tmp_path):
    root = write_root(
        tmp_path / "root", record("image"), record("mask"), record("bare", objects=[], relations=[])
    )
    on_white = photo().point(lambda value: 255)  # (no mask gives white surroundings)
    for box in (CAT, DOG):
        on_white.paste(photo().crop(box), box[:2])
    on_white.save(root / "focus/image_0.jpg", quality=95)
    focus = photo()
    focus.paste(0, (0, 0, 70, 80))
    focus.save(root / "focus/mask_0.jpg", quality=95, subsampling=0)
    summary = build(root, tmp_path / "out", fractions=ALL_TRAIN, progress=False)
    assert summary["focus"] == {"boxes": 0, "mask": 1, "image": 1}
    assert summary["has_focus_images"] is True
    scenes = {scene.id: scene for scene in _scenes(tmp_path / "out")}
    assert scenes["image"].relations[0].image == (root / "focus/image_0.jpg").read_bytes()
    assert scenes["image"].relations[0].mask == b""
    assert masks.decode(scenes["mask"].relations[0].mask).shape == photo().size[::-1]
    assert scenes["bare"].relations == []
    assert scenes["bare"].object_boxes.shape == (0, 4)


def test_problems_are_listed_with_id_and_reason(tmp_path):
    root = write_root(
        tmp_path / "root",
        record("good"),
        record("bad", image_path="../x.jpg"),
        record("low", objects=[["cat", CAT], ["dog", DOG], ["sky", [0, 0, 500, 20]]]),
    )
    summary = build(root, tmp_path / "out", fractions=ALL_TRAIN, progress=False)
    assert summary["scenes_dropped"] == 1
    assert summary["problems"] == {
        "box_outside: object fixed": 1,
        "path_outside_root: scene dropped": 1,
    }
    path = shards.dataset_dir(tmp_path / "out") / "problems.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {(p["id"], p["reason"]) for p in lines} == {
        ("bad", "path_outside_root"),
        ("low", "box_outside"),
    }
    with pytest.raises(AnnotationError, match="path_outside_root"):
        build(root, tmp_path / "strict", fractions=ALL_TRAIN, strict=True, progress=False)
    assert not any((tmp_path / "strict").glob("[!.]*"))


def test_no_usable_scene_is_an_error(tmp_path):
    root = write_root(tmp_path / "root", record(image_path="none.jpg"))
    with pytest.raises(AnnotationError, match="none of the scenes"):
        build(root, tmp_path / "out", progress=False)


def test_a_build_is_never_replaced_silently(tmp_path):
    root = write_root(tmp_path / "root", record("a"))
    build(root, tmp_path / "out", fractions=ALL_TRAIN, progress=False)
    write_root(root, record("a"), record("b"))
    with pytest.raises(FileExistsError, match="--overwrite"):
        build(root, tmp_path / "out", fractions=ALL_TRAIN, progress=False)
    assert len(_scenes(tmp_path / "out")) == 1
    build(root, tmp_path / "out", fractions=ALL_TRAIN, overwrite=True, progress=False)
    assert len(_scenes(tmp_path / "out")) == 2


def test_a_failed_replacement_leaves_the_old_data_set(tmp_path, monkeypatch):
    root = write_root(tmp_path / "root", record("a"))
    build(root, tmp_path / "out", fractions=ALL_TRAIN, progress=False)

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(build_lib, "_summary", fail)
    with pytest.raises(KeyboardInterrupt):
        build(root, tmp_path / "out", fractions=ALL_TRAIN, overwrite=True, progress=False)
    assert len(_scenes(tmp_path / "out")) == 1
    assert list((tmp_path / "out").glob(".unfinished-*")) == []


def test_a_killed_build_starts_again_cleanly(tmp_path):
    command = [sys.executable, "-m", "scenarioclip_jax.data.build", "--embedded", "3000"]
    process = subprocess.Popen([*command, "--output", str(tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob(".unfinished-*/embedded/images/*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob(".unfinished-*"))
    with pytest.raises(shards.DataSetError, match="no data set"):
        shards.open_split(tmp_path, "train")
    ensure_embedded(tmp_path, 20, 0, progress=False)
    assert shards.load_summary(tmp_path)["splits"]["train"] > 5
    assert list(tmp_path.glob(".unfinished-*")) == []


def _ensure(path, started):
    started.wait()
    ensure_embedded(path, 40, 0, progress=False)
    os._exit(0 if len(shards.open_split(path, "train")) else 1)


def test_two_processes_may_ask_for_the_embedded_scenes_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    both = [context.Process(target=_ensure, args=(tmp_path, started)) for _ in range(2)]
    for process in both:
        process.start()
    started.set()
    for process in both:
        process.join(300)
    assert [process.exitcode for process in both] == [0, 0]


def test_embedded_scenes_are_built_once_and_again_for_other_parameters(tmp_path, monkeypatch):
    def modified():
        return (shards.dataset_dir(tmp_path) / "summary.json").stat().st_mtime_ns

    assert ensure_embedded(tmp_path, 12, 0, progress=False) == tmp_path
    first = modified()
    ensure_embedded(tmp_path, 12, 0, progress=False)
    assert modified() == first
    ensure_embedded(tmp_path, 13, 0, progress=False)
    second = modified()
    assert second != first
    assert sum(shards.load_summary(tmp_path)["splits"].values()) == 13
    monkeypatch.setattr(embedded, "VERSION", embedded.VERSION + 1)
    ensure_embedded(tmp_path, 13, 0, progress=False)
    assert modified() != second


def test_embedded_scenes_never_replace_other_data(tmp_path):
    root = write_root(tmp_path / "root", record("a"))
    build(root, tmp_path / "out", fractions=ALL_TRAIN, progress=False)
    with pytest.raises(FileExistsError, match="isn't made of embedded scenes"):
        ensure_embedded(tmp_path / "out", 5, 0, progress=False)


def test_two_builds_give_the_same_records(annotations, data_dir, tmp_path):
    build(annotations, tmp_path, num_shards=3, progress=False)
    for split in SPLITS:
        _assert_equal(_scenes(tmp_path, split), _scenes(data_dir, split))


def test_several_processes_give_the_same_files(annotations, data_dir, tmp_path):
    build(annotations, tmp_path, num_shards=3, progress=False, workers=2)
    first, second = shards.dataset_dir(data_dir), shards.dataset_dir(tmp_path)
    assert sorted(p.name for p in first.iterdir()) == sorted(p.name for p in second.iterdir())
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_scenes_have_the_order_that_tfds_gives_them(tmp_path):
    """So data sets that are built again are those of earlier versions, which TFDS wrote."""
    ensure_embedded(tmp_path, 300, 0, size=64, progress=False)
    found = [scene.id for scene in _scenes(tmp_path, "test")]
    numbers = (17, 171, 163, 289, 208, 51, 106, 128, 189, 100, 275, 71)
    assert found[:12] == [f"scene_{number:06d}" for number in numbers]
    assert len(found) == 60


def test_an_interrupted_build_goes_on_with_what_is_done(
    annotations, data_dir, tmp_path, monkeypatch
):
    made, assemble = [], chunks.assemble

    def interrupted(record, *args, **kwargs):
        if len(made) == 40:  # in the second of two chunks
            raise KeyboardInterrupt
        made.append(record.id)
        return assemble(record, *args, **kwargs)

    monkeypatch.setattr(chunks, "assemble", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(annotations, tmp_path, num_shards=3, progress=False)
    with pytest.raises(shards.DataSetError, match="no data set"):
        shards.open_split(tmp_path, "train")
    before, made = made, []
    monkeypatch.setattr(
        chunks,
        "assemble",
        lambda record, *a, **k: made.append(record.id) or assemble(record, *a, **k),
    )
    build(annotations, tmp_path, num_shards=3, progress=False)
    assert len(made) == 28
    assert not set(made) & set(before[:32])
    assert [path.name for path in tmp_path.iterdir() if path.name != "action_genome"] == [
        ".build.lock"
    ]
    for split in SPLITS:
        _assert_equal(_scenes(tmp_path, split), _scenes(data_dir, split))


def test_what_is_done_is_kept_for_the_same_build_only(annotations, tmp_path, monkeypatch):
    make_chunk = chunks.make_chunk

    def stop_after_the_first(job, chunk):
        if chunk:
            raise KeyboardInterrupt
        return make_chunk(job, chunk)

    monkeypatch.setattr(chunks, "make_chunk", stop_after_the_first)
    seen = set()
    for options in ({"max_megapixels": 1.0}, {"boxes": "xyxy", "box_units": "pixels"}, {}):
        with pytest.raises(KeyboardInterrupt):
            build(annotations, tmp_path, progress=False, **options)
        (kept,) = tmp_path.glob(f"{build_lib.KEPT}*")
        assert (kept / "000000.json").exists()
        seen.add(kept.name)
    assert len(seen) == 3
    again = tmp_path / "copy"
    shutil.copytree(annotations, again)
    (again / "metadata.json").write_text("[]")
    with pytest.raises(AnnotationError):
        build(again, tmp_path, progress=False)
    assert not list(tmp_path.glob(f"{build_lib.KEPT}*"))


def test_what_is_done_is_done_again_if_photos_changed_or_it_was_damaged(tmp_path, monkeypatch):
    root = tmp_path / "root"
    embedded.write_embedded(root, 100, seed=5, size=64)
    (photo_3,) = root.glob("images/scene_000003.*")
    content, make_chunk = photo_3.read_bytes(), chunks.make_chunk
    photo_3.unlink()

    def stop_at_the_last(job, chunk):
        if chunk == 3:
            raise KeyboardInterrupt
        return make_chunk(job, chunk)

    monkeypatch.setattr(chunks, "make_chunk", stop_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        build(root, tmp_path / "out", progress=False)
    photo_3.write_bytes(content)  # mended while the build was stopped
    (kept,) = (tmp_path / "out").glob(f"{build_lib.KEPT}*")
    (kept / "000001.json").write_bytes(b"")
    whole = kept / "000002.array_record"
    whole.write_bytes(whole.read_bytes()[:70_000])
    monkeypatch.setattr(chunks, "make_chunk", make_chunk)
    build(root, tmp_path / "out", progress=False)
    build(root, tmp_path / "fresh", progress=False)
    for path in shards.dataset_dir(tmp_path / "fresh").iterdir():
        assert path.read_bytes() == (shards.dataset_dir(tmp_path / "out") / path.name).read_bytes()


def test_a_disk_that_is_full_for_the_index_is_named(tmp_path, capsys, monkeypatch):
    root = write_root(tmp_path / "root", record("a"))

    def full(*args):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(make.Index, "store", full)
    assert command_line.main([f"--metadata={root}", f"--output={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert "database or disk is full" in error
    assert "Make room" in error


def _of_group(group: int) -> list[str]:
    """The commands of the processes of a group that haven't ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state not in "ZX":
                found.append((path.parent / "cmdline").read_text())
    return found


def test_a_build_of_several_processes_that_is_killed_leaves_none_and_goes_on(tmp_path):
    root = tmp_path / "root"
    embedded.write_embedded(root, 200, seed=4, size=64)
    arguments = [f"--metadata={root}", f"--output={tmp_path / 'out'}", "--workers=2"]
    command = [sys.executable, "-m", "scenarioclip_jax.data.build", *arguments]
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 240
    while not list((tmp_path / "out").glob(f"{build_lib.KEPT}*/*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while left := _of_group(process.pid):
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.05)
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+ of 200 records were done before", done.stderr)
    build(root, tmp_path / "whole", progress=False)
    for split in SPLITS:
        _assert_equal(_scenes(tmp_path / "out", split), _scenes(tmp_path / "whole", split))


@pytest.fixture
def copied(data_dir, tmp_path):
    return Path(shutil.copytree(data_dir, tmp_path / "copy"))


def test_missing_things_name_the_folder_and_the_command(copied, tmp_path):
    with pytest.raises(ValueError, match="split must be one of"):
        shards.open_split(copied, "training")
    with pytest.raises(shards.DataSetError, match=r"no data set in .*scenarioclip_jax.data.build"):
        shards.open_split(tmp_path / "none", "train")
    folder = shards.dataset_dir(copied)
    next(folder.glob("*-test.array_record-*")).unlink()
    with pytest.raises(shards.DataSetError, match=r"-test.*is missing"):
        shards.open_split(copied, "test")
    folder.rename(folder.with_name("0.9.0"))
    with pytest.raises(
        shards.DataSetError, match=r"holds version 0.9.0, this code reads 2.1.0, 2.0.0"
    ):
        shards.open_split(copied, "train")


def test_an_empty_split_is_explained(tmp_path):
    root = write_root(tmp_path / "root", record("a"))
    build(root, tmp_path / "out", fractions=ALL_TRAIN, progress=False)
    with pytest.raises(
        shards.DataSetError, match=r"no 'test' split, only \['train'\].*--fractions"
    ):
        shards.open_split(tmp_path / "out", "test")


@pytest.mark.parametrize("damage", ["overwritten", "cut"])
def test_damaged_records_name_file_and_index(copied, damage):
    path = next(shards.dataset_dir(copied).glob("*-train.array_record-00001-of-00003"))
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    else:
        content[2000:-70_000] = bytes(len(content) - 72_000)
    path.write_bytes(content)
    source = shards.open_split(copied, "train")
    source[0]
    start = source._shards[1].start
    with pytest.raises(shards.DataSetError, match=re.escape(path.name)) as error:
        [source[index] for index in range(start, len(source))]
    assert re.search(r"record \d+ of .*scene \d+ of the split", str(error.value))


def test_command_line(tmp_path, capsys):
    root = write_root(tmp_path / "root", record("a"), record("b", image_path="none.jpg"))
    arguments = ["--metadata", str(root), "--output", str(tmp_path / "out")]
    assert command_line.main([*arguments, "--fractions", "1,0,0", "--num-shards", "1"]) == 0
    out = capsys.readouterr().out
    for text in ("1 train, 0 validation, 0 test", "1 actions, 2 objects", "problems.jsonl"):
        assert text in out
    assert "1  missing_image: scene dropped" in out
    for extra, message in (
        ([], "--overwrite"),
        (["--overwrite", "--strict"], "missing_image"),
        (["--overwrite", "--fractions", "1,1,1"], "must sum to 1"),
        (["--overwrite", "--num-shards", "0"], "num_shards must be at least 1"),
    ):
        assert command_line.main([*arguments, *extra]) == 1
        assert message in capsys.readouterr().err
    assert command_line.main(["--metadata", "/nowhere", "--output", str(tmp_path / "x")]) == 1
    assert "isn't a folder" in capsys.readouterr().err
    assert command_line.main(["--embedded", "9", "--output", str(tmp_path / "embedded")]) == 0
    assert "no problems" in capsys.readouterr().out


def test_what_is_stored_as_jpeg_is_counted_and_large_photos_need_a_flag(tmp_path, capsys):
    root = write_root(tmp_path / "root", record("a"), record("b"))
    photo().save(root / "images/b.jpg", "WEBP")
    arguments = ["--metadata", str(root), "--output", str(tmp_path / "out"), "--fractions=1,0,0"]
    assert command_line.main([*arguments, "--strict"]) == 0
    assert "stored as JPEG      1 WEBP" in capsys.readouterr().out
    assert command_line.main([*arguments, "--overwrite", "--max-megapixels=0.009"]) == 1
    assert "none of the scenes" in capsys.readouterr().err
    assert command_line.main([*arguments, "--overwrite", "--max-megapixels=0.0096"]) == 0
    assert command_line.main([*arguments, "--overwrite", "--max-megapixels=-1"]) == 1
    assert "max_megapixels must be positive" in capsys.readouterr().err


def test_a_full_disk_is_an_error_not_a_stack_trace(tmp_path, capsys, monkeypatch):
    root = write_root(tmp_path / "root", record("a"))

    def full(*args, **kwargs):
        raise RuntimeError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr(chunks, "ArrayRecordWriter", full)
    arguments = ["--metadata", str(root), "--output", str(tmp_path / "out")]
    assert command_line.main(arguments) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "MB are free there" in error


def test_another_error_is_not_called_a_full_disk(tmp_path, monkeypatch):
    root = write_root(tmp_path / "root", record("a"))

    def broken(*args, **kwargs):
        raise RuntimeError("something else")

    monkeypatch.setattr(chunks, "assemble", broken)
    with pytest.raises(RuntimeError, match=r"^something else$"):
        build(root, tmp_path / "out", progress=False)


def test_progress_is_shown(tmp_path, capsys):
    root = write_root(tmp_path / "root", record("a"), record("b"))
    build(root, tmp_path / "out", fractions=ALL_TRAIN)
    assert "2/2" in capsys.readouterr().err
