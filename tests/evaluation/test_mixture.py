"""A mixture is scored data set by data set, with the names and the scores that each has by itself."""

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
from scenarioclip_jax.evaluation.job import evaluate
from scenarioclip_jax.evaluation.open_run import data_of
from scenarioclip_jax.evaluation.run_data import choose
from tests.evaluation.tiny_model import write_model

CONFIG = Path(__file__).parents[2] / "configs" / "evaluate.py"


@pytest.fixture(scope="module")
def other_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    return ensure_embedded(folder, 40, seed=5, size=64, progress=False)


def config(**changes):
    config = runpy.run_path(str(CONFIG))["get_config"]()
    config.compilation_cache = ""
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config


def digest(directory) -> str:
    return identity_digest(open_split(directory, "train"))


def run(folder: Path, text: str, *identities: str) -> Path:
    """A training run's workdir, as far as its data goes."""
    (folder / "checkpoints").mkdir(parents=True)
    values = {"data": {"dir": text}, "embedded": {"num_scenes": 6000, "seed": 0}}
    (folder / "config.json").write_text(json.dumps(values))
    path = (folder / "checkpoints" / "00000003" / "data").resolve()
    path.mkdir(parents=True)
    record = {"source": "both", "mixture": [{"source": each} for each in identities]}
    ocp.JsonCheckpointHandler().save(path, record)
    return folder


@pytest.mark.slow
def test_each_data_set_is_scored_as_by_itself(small_data, other_data, tmp_path):
    model = write_model(tmp_path / "model", small_data)
    names = Path(small_data).name, Path(other_data).name

    def results(text, workdir):
        suites = ("zero_shot", "retrieval")
        values = config(
            checkpoint=str(model),
            suites=suites,
            data__dir=text,
            data__scenes=10,
            cache=str(tmp_path / "cache"),
            bootstrap=10,
        )
        evaluate(values, tmp_path / workdir)
        page = (tmp_path / workdir / "report.html").read_text()
        return json.loads((tmp_path / workdir / "results.json").read_text()), page

    both, page = results(f"{small_data}:0.9,{other_data}:0.1", "both")
    assert both["data_sets"] == {names[0]: str(small_data), names[1]: str(other_data)}
    assert str(small_data) in both["data"]
    assert str(other_data) in both["data"]
    assert list(both["suites"]) == [
        f"{suite}/{name}" for suite in ("zero_shot", "retrieval") for name in names
    ]
    for directory, name in zip((small_data, other_data), names, strict=True):
        alone, _ = results(str(directory), f"alone-{name}")
        assert "data_sets" not in alone
        assert list(alone["suites"]) == ["zero_shot", "retrieval"]
        for suite, found in alone["suites"].items():
            assert found == both["suites"][f"{suite}/{name}"]
        assert f'id="zero_shot/{name}"' in page
    assert both["suites"][f"zero_shot/{names[0]}"] != both["suites"][f"zero_shot/{names[1]}"]


@pytest.mark.slow
def test_a_data_set_without_a_test_split_takes_nothing_from_the_others(
    small_data, tmp_path, capsys
):
    model = write_model(tmp_path / "model", small_data)
    (tmp_path / "untested").mkdir()
    shutil.copytree(Path(small_data) / "action_genome", tmp_path / "untested/action_genome")
    (path,) = tmp_path.glob("untested/action_genome/*/summary.json")
    summary = json.loads(path.read_text())
    summary["splits"]["test"] = 0
    path.write_text(json.dumps(summary))

    def score(first, workdir):
        values = config(
            checkpoint=str(model),
            suites=("zero_shot",),
            data__dir=f"{first},{tmp_path / 'untested'}",
            data__scenes=10,
            cache="",
            bootstrap=10,
        )
        return evaluate(values, tmp_path / workdir)

    found = score(small_data, "out").summary
    assert list(found["suites"]) == [f"zero_shot/{Path(small_data).name}"]
    assert list(found["left_out"]) == ["zero_shot/untested"]
    assert not found["failed"]
    said = capsys.readouterr()
    assert "zero_shot/untested: left out: " in said.out
    assert "Traceback" not in said.err
    # A suite that was asked for and that none of them has is an error.
    shutil.copytree(tmp_path / "untested", tmp_path / "other")
    neither = score(tmp_path / "other", "neither")
    assert list(neither.failed) == ["zero_shot/other", "zero_shot/untested"]
    assert "error: zero_shot/other: " in capsys.readouterr().err


def test_a_run_is_scored_on_all_data_sets_that_it_was_trained_on(
    small_data, other_data, tmp_path, capsys
):
    text = f"{small_data}:0.9,{other_data}:0.1"
    mine = run(tmp_path / "mine", text, digest(small_data), digest(other_data))
    found = choose(config(checkpoint=str(mine)))
    assert [each.open() for each in found] == [small_data, other_data]
    assert [each.why for each in found] == [f"what {mine} was trained on"] * 2
    assert not any(each.notes for each in found)
    # One of them is still data of its own, and another isn't.
    (one,) = choose(config(checkpoint=str(mine), data__dir=str(other_data)))
    assert not one.notes
    stranger = run(tmp_path / "stranger", str(other_data), digest(other_data))
    first, second = choose(config(checkpoint=str(stranger), data__dir=text))
    assert "was trained on other data" in first.notes[0]
    assert not second.notes
    # Built again since.
    changed = run(tmp_path / "changed", text, digest(small_data), "0123456789abcdef")
    first, second = choose(config(checkpoint=str(changed)))
    assert not first.notes
    assert f"lay in {other_data}, which was built again since" in second.notes[0]
    # Notebooks take the first, or the one that is named.
    name = Path(other_data).name
    assert data_of(mine) == small_data
    assert f"{name}), this is {Path(small_data).name}" in capsys.readouterr().out
    assert data_of(mine, name) == other_data
    with pytest.raises(CheckpointError, match=f"on no data set 'vg': there are .*{name}"):
        data_of(mine, "vg")


def test_a_data_set_that_is_not_there_is_named(small_data, tmp_path):
    text = f"{small_data}:0.9,{tmp_path / 'gone'}:0.1"
    with pytest.raises(ConfigError, match=r"config\.data\.dir: no data set in .*gone"):
        choose(config(checkpoint=str(tmp_path), data__dir=text))
    with pytest.raises(ConfigError, match=r"the data set in .*gone, which isn't there"):
        choose(config(checkpoint=str(run(tmp_path / "run", text, "a", "b"))))
    with pytest.raises(ConfigError, match=r"config\.data\.dir: .*the weight -1 of"):
        choose(config(checkpoint=str(tmp_path), data__dir=f"{small_data}:-1"))
