"""What a model card states, and that its figures are those of the very weights."""

import json
import re

import numpy as np
import pytest
import yaml

from scenarioclip_jax import convert
from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.evaluation.embed.cache import NoCache
from scenarioclip_jax.evaluation.embed.encoder import ModelEncoder
from scenarioclip_jax.evaluation.report.for_card import ResultsError, read_figures
from scenarioclip_jax.interop.card_facts import Facts, Score, front_matter, of_run, sections
from scenarioclip_jax.loading import load
from tests.evaluation.tiny_model import write_model


@pytest.fixture(scope="module")
def run(small_data, tmp_path_factory):
    folder = write_model(tmp_path_factory.mktemp("card") / "run", small_data)
    config = {
        "init_from": "openai/clip-vit-base-patch32",
        "data": {"dir": "a=/x/psg:0.5,b=/y/vg/:0.5"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def figure(value, unit="share", chance=0.25):
    return {"value": value, "interval": [0.1, 0.9], "chance": chance, "samples": 9, "unit": unit}


def results(path, model, column="student", **more):
    metrics = {
        "all": figure(0.5),
        "swapped ends": figure(0.75, chance=None),
        "rank": figure(3, "rank"),
    }
    entry = {"columns": {column: {"metrics": metrics}}}
    summary = {
        "models": {column: {"checkpoint_hash": ModelEncoder(model, NoCache()).digest}},
        "data": "/a/place/photos",
        "suites": {"hard_negatives": entry},
    }
    path.write_text(json.dumps(summary | more))
    return path


def card_of(run, out, *flags):
    convert.main(["to-pytorch", f"--checkpoint={run}", f"--output={out}", *flags])
    _, front, body = (out / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), body


@pytest.mark.parametrize("weights", ["student", "ema"])
def test_the_card_has_license_base_model_data_and_results(run, tmp_path, weights):
    file = results(tmp_path / "results.json", load(run, weights=weights), weights)
    flags = "--license=cc-by-4.0", f"--results={file}", f"--weights={weights}"
    front, body = card_of(run, tmp_path / "out", *flags)
    assert front["license"] == "cc-by-4.0"
    assert front["base_model"] == "openai/clip-vit-base-patch32"
    (entry,) = front["model-index"]
    (result,) = entry["results"]
    assert result["dataset"]["name"] == "photos"
    assert result["metrics"][0]["name"] == "Hard negatives, beats all of its negatives"
    assert [each["value"] for each in result["metrics"]] == [0.5, 0.75]
    assert "trained on `psg`, `vg`" in body
    assert (
        "| Hard negatives | beats all of its negatives | 50.0% | 10.0% to 90.0% | 25.0% |" in body
    )
    assert "| Hard negatives | beats swapped subject and object | 75.0% |" in body
    assert "rank" not in body
    assert "to state" not in body
    assert "/a/place" not in body
    assert "/x/" not in body


def test_what_is_not_known_is_for_whoever_trained_it(run, tmp_path):
    front, body = card_of(run, tmp_path / "out")
    assert front["license"] == "unknown"
    assert "model-index" not in front
    assert "For whoever trained these weights to state: results and license." in body


def test_results_of_other_weights_are_refused(run, tmp_path):
    file = results(tmp_path / "results.json", load(run, weights="ema"))
    with pytest.raises(
        SystemExit, match=r"results\.json: has figures of student, but of other weights"
    ):
        card_of(run, tmp_path / "out", f"--results={file}")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def model(run):
    loaded = load(run)
    return loaded.params, loaded.spec, loaded.tokenizer


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1", "isn't the results.json of an evaluation"),
        ("{}", "isn't the results.json of an evaluation .*'models'"),
        ('{"models": {}, "suites": {}, "data": ""}', "has figures of no model"),
        (
            '{"models": {"s": {"checkpoint_hash": "x"}}, "suites": {}, "data": ""}',
            "figures of s, but of other weights",
        ),
    ],
)
def test_other_files_are_refused(model, tmp_path, content, message):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ResultsError, match=message):
        read_figures(tmp_path / "results.json", *model)
    with pytest.raises(ResultsError, match=r"gone\.json: isn't the results"):
        read_figures(tmp_path / "gone.json", *model)


@pytest.mark.parametrize("license", ["CC BY", "", "-x", "a\nb"])
def test_a_license_is_an_identifier(run, tmp_path, license, capsys):
    with pytest.raises(SystemExit):
        card_of(run, tmp_path / "out", f"--license={license}")
    assert "must be an identifier" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"init_from": "", "data": {"dir": ""}}, ("", ("scenes that this package draws",))),
        ({"init_from": "/models/mine", "data": {"dir": "gs://bucket/psg"}}, ("mine", ("psg",))),
    ],
)
def test_runs_tell_names_and_no_paths(tmp_path, config, wanted):
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = of_run(tmp_path)
    assert (found.get("base_model", ""), found["data"]) == wanted


def test_runs_of_before_a_setting_was_there_tell_the_rest(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"data": {"dir": "/x/psg"}}))
    assert of_run(tmp_path) == {"data": ("psg",)}
    (tmp_path / "config.json").write_text("{}")
    assert of_run(tmp_path) == {}


def test_what_is_no_run_tells_nothing_and_what_is_damaged_is_named(tmp_path):
    assert of_run(tmp_path) == {}
    for damaged in ("{", "[]", "3"):
        (tmp_path / "config.json").write_text(damaged)
        with pytest.raises(CheckpointError, match=r"config\.json is no config of a training run"):
            of_run(tmp_path)


def test_odd_names_do_not_break_table_or_metadata():
    score = Score("a | b", "c: 'd'", 0.004, "0.40%", "0.0% to 1.0%", "0.02%")
    facts = Facts(scores=(score,), scored_on="x: [y]\n- z")
    (row,) = [line for line in sections(facts).splitlines() if line.startswith("| a")]
    assert row == r"| a \| b | c: 'd' | 0.40% | 0.0% to 1.0% | 0.02% |"
    front = yaml.safe_load(front_matter("n: 1", ["t"], facts).strip("-\n"))
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == "x: [y]\n- z"
    assert re.fullmatch(r"[\w.-]+", front["model-index"][0]["results"][0]["dataset"]["type"])
    assert not np.isnan(front["model-index"][0]["results"][0]["metrics"][0]["value"])
