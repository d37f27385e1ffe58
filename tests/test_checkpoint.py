"""What a model is on disk: files that are damaged, and writing that fails."""

import json

import pytest

from scenarioclip_jax.checkpoint import (
    CheckpointError,
    ModelSpec,
    steps,
)
from scenarioclip_jax.interop.output import check_absent
from scenarioclip_jax.train.checkpoints import Checkpoints

WHOLE = {"format": 1, "model": {"arch": "clip"}, "lengths": {"global": 8}, "fit": "contain"}
WHOLE |= {"region_style": "stored"}


def test_a_spec_comes_back(tmp_path):
    spec = ModelSpec({"arch": "clip"}, {"global": 8}, "contain")
    spec.write(tmp_path)
    assert json.loads((tmp_path / "model.json").read_text()) == WHOLE
    assert ModelSpec.read(tmp_path) == spec
    blurred = ModelSpec({"arch": "clip"}, {"global": 8}, region_style="blurred")
    blurred.write(tmp_path)
    assert ModelSpec.read(tmp_path) == blurred


def test_a_spec_of_before_there_were_styles_is_read(tmp_path):
    before = {key: value for key, value in WHOLE.items() if key != "region_style"}
    (tmp_path / "model.json").write_text(json.dumps(before))
    assert ModelSpec.read(tmp_path).region_style == "stored"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "its `format` is not 1"),
        (b"3", "its `format` is not 1"),
        (b"{}", "its `format` is not 1"),
        (b'{"format": 1, "mod', "not valid JSON .* copy it again"),
        (b"\xff\xfe{}", "not valid JSON .* copy it again"),
        (json.dumps({"format": 1}).encode(), "model, lengths, fit missing, unknown or of a wrong"),
        (json.dumps(WHOLE | {"lengths": [8]}).encode(), "lengths missing, unknown or of a wrong"),
        (json.dumps(WHOLE | {"more": 1}).encode(), "more missing, unknown or of a wrong type"),
    ],
)
def test_a_damaged_spec_is_named(content, message, tmp_path):
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"model.json.* {message}"):
        ModelSpec.read(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"has no model\.json"):
        ModelSpec.read(tmp_path / "file")


def test_no_output_takes_the_place_of_the_folder_one_is_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path, tmp_path.relative_to(tmp_path)):
        with pytest.raises(CheckpointError, match="the folder you are in"):
            check_absent(path)


def test_a_score_may_come_after_the_save(tmp_path):
    import numpy as np

    arrays = {"params": {"x": np.zeros(2, np.float32)}}

    def open_them():
        return Checkpoints(tmp_path, keep_last=1, keep_best=1, metric="score")

    checkpoints = open_them()
    checkpoints.save(1, arrays=arrays, records={})
    checkpoints.add_metrics(1, {"score": 0.9})
    checkpoints.add_metrics(1, {"score": 0.1})  # it has one
    checkpoints.save(2, arrays=arrays, records={}, metrics={"score": 0.2})
    checkpoints.close()
    checkpoints = open_them()
    checkpoints.save(3, arrays=arrays, records={}, metrics={"score": 0.3})
    checkpoints.close()
    assert steps(tmp_path) == [1, 3]
