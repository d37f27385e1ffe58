"""Outputs: complete or not there, one conversion at a time, and only with numbers in them."""

import threading

import numpy as np
import pytest

from scenarioclip_jax import checkpoint, convert, load
from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.interop.output import new_folder
from tests.interop import helpers


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_second_conversion_to_one_output_is_refused(tmp_path):
    out = tmp_path / "out"
    with new_folder(out) as first:
        (first / "a").write_text("first")
        with pytest.raises(CheckpointError, match=r"out: another conversion writes there"):
            with new_folder(out):
                pytest.fail("it must not start")
        assert (first / "a").read_text() == "first"
    assert names(tmp_path) == ["out"]
    assert names(out) == ["a"]
    with pytest.raises(CheckpointError, match="exists already"):
        with new_folder(out):
            pytest.fail("it must not start")


def test_many_at_once_make_one_output(tmp_path):
    """As a job array whose tasks all name one folder: whoever comes first."""
    start, refused = threading.Barrier(8), []

    def task(index):
        start.wait()
        try:
            with new_folder(tmp_path / "out") as folder:
                for name in "ab":
                    (folder / name).write_text(str(index))
        except CheckpointError as error:
            refused.append(str(error))

    tasks = [threading.Thread(target=task, args=(index,)) for index in range(8)]
    for each in tasks:
        each.start()
    for each in tasks:
        each.join()
    assert len(refused) == 7
    assert (tmp_path / "out/a").read_text() == (tmp_path / "out/b").read_text()
    assert names(tmp_path) == ["out"]


def test_without_locks_nothing_is_mixed(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    out = tmp_path / "out"

    def two_at_once():
        with new_folder(out) as first:
            (first / "a").write_text("first")
            with new_folder(out) as second:
                (second / "b").write_text("second")

    with pytest.raises(CheckpointError, match="exists by now; another process made it"):
        two_at_once()
    assert names(out) == ["b"]
    assert names(tmp_path) == ["out"]


def test_links_are_followed(tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "real")
    with new_folder(tmp_path / "dangling") as folder:
        (folder / "a").touch()
    assert names(tmp_path / "real") == ["a"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with new_folder(tmp_path / "link") as folder:
        (folder / "a").touch()
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "link") == ["a"]
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises((CheckpointError, OSError), match="loop"):
        with new_folder(tmp_path / "loop"):
            pytest.fail("it must not start")


def test_a_mount_point_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.is_mount", lambda _: True)
    with pytest.raises(CheckpointError, match="a mount point; choose a folder below it"):
        with new_folder(tmp_path / "out"):
            pytest.fail("it must not start")


def test_paths_are_what_people_mean(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    helpers.write_clip(tmp_path / "clip")
    convert.main(["from-huggingface", "--model=~/clip", "--output=~/out", "--arch=clip"])
    assert (tmp_path / "out/model.json").is_file()
    assert load("~/out").encode_text("ok").shape == (1, helpers.PROJECTION)
    with pytest.raises(SystemExit):
        convert.main(["from-huggingface", "--model=~/clip", "--output=abfs://bucket/out"])
    assert (
        "argument --output: 'abfs://bucket/out': addresses of abfs aren't supported"
        in capsys.readouterr().err
    )
    with pytest.raises(
        SystemExit, match="'abfs://bucket/clip': addresses of abfs aren't supported"
    ):
        convert.main(["from-huggingface", "--model=abfs://bucket/clip", "--output=b"])
    assert names(tmp_path) == ["clip", "out"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_must_be_numbers(tmp_path, value):
    arrays = helpers.clip_arrays()
    name = "vision_model.encoder.layers.1.mlp.fc1.bias"
    arrays[name][3] = value
    folder = helpers.write_clip(tmp_path / "clip", arrays)
    message = rf"model\.safetensors: {name} holds values that are NaN or infinite"
    with pytest.raises(SystemExit, match=message):
        convert.main(["from-huggingface", f"--model={folder}", f"--output={tmp_path / 'out'}"])
    with pytest.raises(CheckpointError, match=message):
        load(folder)
    assert names(tmp_path) == ["clip"]


def test_what_float16_cannot_hold_is_named(tmp_path):
    arrays = helpers.clip_arrays()
    arrays["text_model.final_layer_norm.bias"][2] = 1e6
    folder, ours = helpers.write_clip(tmp_path / "clip", arrays), tmp_path / "ours"
    convert.main(["from-huggingface", f"--model={folder}", f"--output={ours}", "--arch=clip"])
    command = ["to-pytorch", f"--checkpoint={ours}", f"--output={tmp_path / 'out'}"]
    with pytest.raises(SystemExit, match=r"--dtype float16: global_text.*bias holds 1e\+06, .*bfl"):
        convert.main([*command, "--dtype=float16"])
    assert names(tmp_path) == ["clip", "ours"]
    convert.main([*command, "--dtype=bfloat16"])
    params, _ = checkpoint.load_params(ours)
    spec = checkpoint.ModelSpec.read(ours)
    params["logit_scale/global"] = np.array(np.nan, np.float32)
    (tmp_path / "nan").mkdir()
    checkpoint.save_model(tmp_path / "nan", spec, params)
    helpers.tokenizer().save(tmp_path / "nan")
    for layout in ("transformers", "huggingface-towers"):
        command = ["to-pytorch", f"--checkpoint={tmp_path / 'nan'}", f"--output={tmp_path / 'x'}"]
        with pytest.raises(SystemExit, match=r"logit_scale.* holds values that are NaN"):
            convert.main([*command, f"--layout={layout}"])
