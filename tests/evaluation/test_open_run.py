"""Opening a run with its data: what is found, and what is said where nothing is."""

import json
import shlex

import numpy as np
import pytest

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.evaluation import open_run as module
from scenarioclip_jax.evaluation.open_run import data_of, open_run
from tests.evaluation.tiny_model import write_model


def test_a_run_and_its_data(small_data, tmp_path, monkeypatch):
    folder = write_model(tmp_path / "run", small_data)
    config = {"data": {"dir": str(small_data)}, "embedded": {"num_scenes": 150, "seed": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(module, "CACHE", str(tmp_path / "cache"))
    run = open_run(folder, weights="ema", scenes=4)
    gallery = run.data.split("test").galleries["object"]
    boxes = run.data.object_boxes("test")
    assert boxes.shape == (len(gallery.texts), 4)
    # An object's view is black outside its box and nowhere else.
    views = run.data.views({"object": {0, 2}})["object"]
    for row, view in views.items():
        lit = np.argwhere(view.max(axis=-1) > 0)
        low, high = lit.min(axis=0)[::-1], lit.max(axis=0)[::-1] + 1
        np.testing.assert_allclose([*low, *high], boxes[row], atol=1)


def test_no_run(tmp_path):
    with pytest.raises(CheckpointError, match="holds no training run") as raised:
        data_of(tmp_path / "gone")
    (command,) = [line for line in str(raised.value).split("\n") if line.startswith("    python")]
    assert shlex.split(command)[-1] == f"--workdir={tmp_path / 'gone'}"
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"config\.json is no config of a training run"):
        open_run(tmp_path)
    embedded = {"data": {"dir": ""}, "embedded": {"num_scenes": 3, "seed": 0}}
    (tmp_path / "config.json").write_text(json.dumps(embedded))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "default_embedded", lambda **given: tuple(given.values()))
        assert set(data_of(tmp_path)) == {3, 0, "plain"}
