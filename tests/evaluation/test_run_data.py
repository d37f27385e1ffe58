"""Which data set is scored: the run's own unless another is named, and what is said of it."""

import json
import runpy
import shutil
from pathlib import Path

import orbax.checkpoint as ocp
import pytest

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.data.build.dataset import ensure_embedded
from scenarioclip_jax.data.source import identity_digest
from scenarioclip_jax.data.stored.shards import open_split
from scenarioclip_jax.evaluation import run_data
from scenarioclip_jax.evaluation.open_run import data_of
from scenarioclip_jax.evaluation.run_data import choose, recorded

CONFIG = Path(__file__).parents[2] / "configs" / "evaluate.py"


def run(folder: Path, directory="", *, identity="", **embedded) -> str:
    """A training run's workdir, as far as its data goes; `identity` is what its checkpoint says of them."""
    (folder / "checkpoints").mkdir(parents=True)
    embedded = {"num_scenes": 6000, "seed": 0} | embedded
    values = {"data": {"dir": str(directory)}, "embedded": embedded}
    (folder / "config.json").write_text(json.dumps(values))
    if identity:
        path = (folder / "checkpoints" / "00000003" / "data").resolve()
        path.mkdir(parents=True)
        ocp.JsonCheckpointHandler().save(path, {"source": identity})
    return str(folder)


def of(directory) -> str:
    return identity_digest(open_split(directory, "train"))


def chosen(checkpoint, **changes):
    config = runpy.run_path(str(CONFIG))["get_config"]()
    config.checkpoint = checkpoint
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    (found,) = choose(config)
    return found


def test_a_run_is_scored_on_the_shards_that_it_was_trained_on(small_data, tmp_path):
    found = chosen(run(tmp_path / "run", small_data))
    assert found.open() == small_data
    assert found.name == str(small_data)
    assert not found.notes


def test_a_run_of_embedded_scenes_is_scored_on_its_own_number_and_seed(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(run_data, "default_embedded", lambda **given: asked.append(given))
    found = chosen(run(tmp_path / "run", num_scenes=500, seed=3))
    found.open()
    assert asked == [{"num_scenes": 500, "seed": 3, "tier": "plain"}]
    assert "500" in found.name
    # What is given on the command line counts, and the rest is still the run's.
    found = chosen(run(tmp_path / "other", num_scenes=500, seed=3), demo_data__num_scenes=40)
    found.open()
    assert asked[-1] == {"num_scenes": 40, "seed": 3, "tier": "plain"}
    assert "trained on other data, the embedded scenes (num_scenes 500" in found.notes[0]


def test_a_run_of_hard_scenes_is_scored_on_hard_scenes(tmp_path):
    hard = run(tmp_path / "run", num_scenes=500, seed=3, tier="hard")
    found = chosen(hard, demo_data__seed=4)
    assert found.embedded == {"num_scenes": 500, "seed": 4, "tier": "hard"}
    assert not found.same(chosen(hard, demo_data__seed=4, demo_data__tier="plain"))


def test_a_model_without_data_of_its_own_gets_the_demos(tmp_path):
    # A folder in Hugging Face's format has a config.json too.
    (tmp_path / "config.json").write_text('{"architectures": ["CLIPModel"]}')
    found = chosen(str(tmp_path))
    assert (found.directory, found.embedded) == (
        None,
        {"num_scenes": 6000, "seed": 0, "tier": "plain"},
    )
    assert "names no data of its own" in found.why


def test_other_data_than_the_runs_is_told(small_data, tmp_path):
    mine = run(tmp_path / "mine", tmp_path / "elsewhere")
    found = chosen(mine, data__dir=str(small_data))
    assert found.open() == small_data
    assert str(tmp_path / "elsewhere") in found.notes[0]
    # The same folder by another name is the same data.
    detour = Path(small_data) / ".." / Path(small_data).name
    assert not chosen(run(tmp_path / "same", small_data), data__dir=str(detour)).notes


def test_a_baseline_that_was_trained_on_other_data_is_told(small_data, tmp_path):
    mine, other = run(tmp_path / "mine", small_data), run(tmp_path / "other", seed=9)
    found = chosen(mine, baseline=other)
    assert found.open() == small_data
    assert len(found.notes) == 1
    assert other in found.notes[0]
    assert "seed 9" in found.notes[0]


def test_data_that_is_gone_is_named_with_the_flag(tmp_path):
    with pytest.raises(
        ConfigError, match=r"trained on the data set in .*gone, .*--config\.data\.dir"
    ):
        chosen(run(tmp_path / "run", tmp_path / "gone"))


def test_a_damaged_config_is_named(tmp_path):
    path = Path(run(tmp_path / "run")) / "config.json"
    for text in ("{", "[]", '{"data": 3}', '{"data": {"dir": ""}, "embedded": 5}'):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=r"config\.json is no config of a training run"):
            recorded(tmp_path / "run")


@pytest.mark.slow
def test_a_data_set_that_was_built_again_in_its_place_is_told(small_data, tmp_path, capsys):
    """The path is the run's, the scenes aren't: what was trained on may be in today's test split."""
    place = tmp_path / "shards"
    shutil.copytree(small_data, place)
    mine = run(tmp_path / "mine", place, identity=of(place))
    found = chosen(mine)
    assert (found.why, found.notes) == (f"what {mine} was trained on", ())
    shutil.rmtree(place)
    ensure_embedded(place, 40, seed=5, size=64)
    found = chosen(mine)
    assert found.open() == place
    assert found.why == f"the folder that {mine} names, built again since"
    assert f"{mine} was trained on another data set that lay in {place}" in found.notes[0]
    # Named on the command line, or for the baseline's sake, it is the same finding.
    assert found.notes == chosen(mine, data__dir=str(place)).notes
    other = run(tmp_path / "other", place, identity=of(place))
    assert [mine in note for note in chosen(other, baseline=mine).notes] == [True]
    # Notebooks open a run's data by themselves.
    data_of(mine)
    assert "was built again since" in capsys.readouterr().out


def test_a_data_set_that_was_moved_is_the_same(small_data, tmp_path):
    shutil.copytree(small_data, tmp_path / "moved")
    mine = run(tmp_path / "mine", tmp_path / "before", identity=of(small_data))
    assert not chosen(mine, data__dir=str(tmp_path / "moved")).notes


def test_a_run_that_kept_no_identity_is_not_vouched_for(small_data, tmp_path):
    mine = run(tmp_path / "mine", small_data)
    assert "nothing tells whether it was built again" in chosen(mine).why
