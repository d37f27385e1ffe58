"""The evaluation job through the real main, and configs that are refused before anything starts."""

import json
import math
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from scenarioclip_jax import main as main_module
from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.evaluation.job import (
    IN_DOMAIN,
    ON_FILES,
    _Run,
    check,
    chosen_suites,
    evaluate,
    open_models,
)
from scenarioclip_jax.evaluation.report.names import known_metric
from tests.evaluation.fakes import write_images, write_json
from tests.evaluation.tiny_model import write_model

CONFIG = Path(__file__).parents[2] / "configs" / "evaluate.py"


def config(**changes):
    config = runpy.run_path(str(CONFIG))["get_config"]()
    config.compilation_cache = ""
    for key, value in changes.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config


@pytest.fixture(scope="module")
def ran(small_data, tmp_path_factory):
    """All in-domain suites and SugarCrepe, student and EMA, with a baseline; run by main's own function."""
    root = tmp_path_factory.mktemp("evaluation")
    write_images(root / "images", "1.png", "2.png")
    records = {
        str(i): {"filename": f"{i}.png", "caption": "a red circle", "negative_caption": "a square"}
        for i in (1, 2, 3)
    }
    write_json(root / "replace_rel.json", records)
    values = config(
        checkpoint=str(write_model(root / "model", small_data)),
        baseline=str(write_model(root / "other", small_data, seed=1)),
        weights=("student", "ema"),
        suites=(*IN_DOMAIN, "sugarcrepe"),
        data__dir=str(small_data),
        data__scenes=12,
        sugarcrepe__path=str(root / "replace_rel.json"),
        skip_missing=True,
        cache=str(root / "cache"),
        bootstrap=50,
        batch_size=32,
        probe__epochs=1,
        probe__rates=(0.01,),
    )
    evaluate(values, root / "run")
    return root, values


@pytest.mark.slow
def test_results_hold_all_that_is_needed_to_believe_them(ran):
    root, values = ran
    results = json.loads((root / "run" / "results.json").read_text())
    assert list(results["suites"]) == list(values.suites)
    hashes = {model["checkpoint_hash"] for model in results["models"].values()}
    assert len(hashes) == 3
    assert set(results["counting"]) == {"strict", "any_label"}
    assert {"jax", "flax", "python", "scenarioclip_jax"} <= set(results["versions"])
    assert results["seed"] == 0
    for name, suite in results["suites"].items():
        assert suite["protocol"]
        for column in suite["columns"].values():
            assert column["level"]
            for key, metric in column["metrics"].items():
                assert known_metric(name, key), f"the report has no name for {name}, {key}"
                low, high = metric["interval"]
                assert low <= metric["value"] + 1e-9
                assert metric["value"] <= high + 1e-9
                assert metric["samples"] > 0
    sugarcrepe = results["suites"]["sugarcrepe"]["columns"]["student"]
    assert sugarcrepe["skipped"]["image is missing"]["count"] == 1
    assert sugarcrepe["counts"] == {"replace_rel records": 2}
    probe = results["suites"]["linear_probe"]["columns"]["ema"]
    assert set(probe["choices"]["object"]) == {"rate", "decay", "epoch", "validation top1"}


def test_a_score_that_is_nan_is_null(tmp_path):
    run = _Run.__new__(_Run)  # what writes, without an evaluation
    run._workdir, run.summary = tmp_path, {"suites": {"a": {"value": math.nan, "chance": 0.5}}}
    run._write()
    read = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert read == {"suites": {"a": {"value": None, "chance": 0.5}}}


def test_the_report_is_one_file_with_everything_in_it(ran):
    page = (ran[0] / "run" / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    for text in ("baseline", "chance", "top 1, any label", "Confusion: predicates", "hits, drawn"):
        assert text in page
    assert "<b>1</b> image is missing" in page
    assert page.count("data:image/jpeg;base64,") >= 10


@pytest.mark.slow
def test_a_second_run_computes_nothing(ran):
    root, values = ran
    evaluate(values, root / "again")
    one, two = (json.loads((root / n / "results.json").read_text()) for n in ("run", "again"))
    assert two["cache"]["computed"] == 0
    assert one["suites"] == two["suites"]


def test_names_are_listed_in_one_way(small_data, tmp_path):
    """On the command line one entry may hold several, wherever a config takes names."""
    checkpoint = write_model(tmp_path / "model", small_data)
    values = config(
        checkpoint=str(checkpoint),
        suites=("zero_shot,retrieval",),
        weights=("student,ema",),
        levels=("global, relation",),
        data__dir=str(small_data),
    )
    settings = check(values, chosen_suites(values))
    assert settings.levels == ("global", "relation")
    assert list(open_models(values)) == ["student", "ema"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"suites": ("zero_shot,aroo",)},
            "config.suites: 'aroo' is no suite; there are half_truth, ",
        ),
        ({"suites": ()}, "config.suites: none is chosen"),
        ({"checkpoint": ""}, "config.checkpoint is empty"),
        ({"weights": ("teacher",)}, r"config.weights=.*must be among student, ema"),
        ({"levels": ("whole",)}, r"config.levels=\('whole',\): must be one or several of global"),
        ({"prompt": "a photo"}, "config.prompt='a photo': must hold {} once"),
        ({"probe__rates": ()}, r"config.probe.rates=\(\)"),
        ({"batch_size": 0}, "config.batch_size=0: must be at least 1"),
        ({"suites": ("vsr",)}, "config.vsr.path is empty"),
        (
            {"suites": ("vsr",), "vsr__path": "/nowhere"},
            "config.vsr.path='/nowhere': no such folder",
        ),
        ({"suites": ("svo",), "svo__path": "/"}, "config.svo.path='/': a folder; name the file"),
        (
            {"suites": ("aro",), "aro__path": "/", "aro__images": "/nowhere"},
            "config.aro.images='/nowhere': no such folder",
        ),
        ({"data__dir": "/nowhere"}, "config.data.dir: no data set in /nowhere"),
    ],
)
def test_a_bad_config_is_refused_at_once(changes, message):
    values = config(**({"checkpoint": "x"} | changes))
    with pytest.raises(ConfigError, match=message):
        check(values, chosen_suites(values))


def test_suites_may_be_joined_by_commas():
    assert chosen_suites(config(suites=("aro,vsr", "aro"))) == ["aro", "vsr"]
    assert {*IN_DOMAIN, *ON_FILES} == set(chosen_suites(config(suites=(*IN_DOMAIN, *ON_FILES))))
    assert all(suite in config() for suite in ON_FILES)


def test_main_prints_errors_without_a_traceback(tmp_path, monkeypatch, capsys):
    class Flag:
        def __init__(self, value):
            self.value = value

    monkeypatch.setattr(main_module, "CONFIG", Flag(config(checkpoint=str(tmp_path / "gone"))))
    monkeypatch.setattr(main_module, "WORKDIR", Flag(str(tmp_path / "run")))
    monkeypatch.setattr(main_module, "MULTIHOST", Flag("no"))
    monkeypatch.setattr(main_module, "PLACE", (Flag(None),) * 3)
    with pytest.raises(SystemExit):
        main_module.main(["main"])
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert "gone" in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.slow
def test_a_suite_is_one_module(tmp_path):
    """A module that is laid into the package is found, gets a section of the config and runs."""
    package = tmp_path / "scenarioclip_jax" / "evaluation" / "suites"
    code = f"""
import sys, runpy
import scenarioclip_jax.evaluation.suites as suites
suites.__path__.append({str(package)!r})
from scenarioclip_jax.evaluation import plan
print("extra" in plan.ON_FILES, "extra" in runpy.run_path({str(CONFIG)!r})["get_config"]())
"""
    package.mkdir(parents=True)
    (package / "extra.py").write_text(
        "from scenarioclip_jax.evaluation.suites.registry import Suite\n"
        "SUITES = (Suite('extra', lambda *_: None, lambda *_: None, files='a file'),)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
