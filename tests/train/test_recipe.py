"""A whole run of a recipe: every term, one tower that is told its level, regions pooled from the photo."""

import json
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import scenarioclip_jax
from scenarioclip_jax import convert
from scenarioclip_jax.evaluation import job
from scenarioclip_jax.evaluation.explain import attribution
from scenarioclip_jax.interop import new_parts
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.scenario_clip import ScenarioCLIP
from scenarioclip_jax.train.loop import train
from scenarioclip_jax.train.metrics import read_rows
from scenarioclip_jax.train.objective import TERMS
from tests.train import tiny

pytestmark = pytest.mark.slow  # what these start takes long

ROOT = Path(__file__).parents[2]
RECIPE = {f"loss__terms__{name}": 0.5 for name in TERMS} | {
    "arch": "scenario_clip_shared",
    "model__regions": "pooled",
    "data__make_negatives": 5,
    "data__make_paraphrases": 2,
    "data__text_row_tokens": 24,
    "data__levels__relation__further_per_scene": 18.0,
    "data__levels__relation__tokens_per_scene": 250.0,
    "data__levels__scene__further_per_scene": 1.0,
    "data__levels__scene__text_length": 20,
    "data__levels__scene__tokens_per_scene": 48.0,
}


@pytest.fixture(scope="module")
def workdir(small_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    train(tiny.config(small_data, steps=4, report__scenes=0, **RECIPE), folder)
    return folder


def test_every_term_is_a_line_of_its_own(workdir):
    rows = read_rows(workdir / "metrics.jsonl")
    steps = [row for row in rows if "loss/total" in row]
    for row in steps:
        added = sum(row[f"loss/{name}"] for name in TERMS)
        assert row["loss/total"] == pytest.approx(row["loss/contrastive"] + 0.5 * added, rel=1e-5)
        assert all(row[f"loss/{name}"] > 0 for name in TERMS)
        assert row["packing/relation_further_fill"] > 0.5
        assert 0 <= row["packing/relation_further_left_out"] < 0.5
    assert "validation/student/relation/hard_negatives/swapped_ends" in {k for r in rows for k in r}


def test_it_is_evaluated_as_it_was_trained(workdir, tmp_path):
    """The figures of the run's own report, from the evaluation, which opens the model anew."""
    config = runpy.run_path(str(ROOT / "configs" / "evaluate.py"))["get_config"]()
    config.checkpoint, config.bootstrap = str(workdir), 10
    config.suites = ("zero_shot", "hard_negatives", "paraphrases", "half_truth", "photo_search")
    config.cache = str(tmp_path / "cache")
    job.evaluate(config, str(tmp_path / "scores"))
    found = json.loads((tmp_path / "scores" / "results.json").read_text())["suites"]
    report = json.loads((workdir / "report.json").read_text())["zero_shot"]
    scores = found["zero_shot"]["columns"]["student"]["metrics"]
    for level, values in report.items():
        assert scores[f"{level}/top5"]["value"] == pytest.approx(values["top5"], abs=1e-6), level
    for suite, metric in (
        ("hard_negatives", "swapped ends"),
        ("paraphrases", "same verdict"),
        ("half_truth", "relation/relation"),
        ("photo_search", "relation/R@5"),
    ):
        assert 0 <= found[suite]["columns"]["student"]["metrics"][metric]["value"] <= 1


def test_a_picture_without_a_box_is_all_box(workdir):
    model = scenarioclip_jax.load(workdir)
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    found = {level: model.encode_image(picture, level)[0] for level in ("global", "object")}
    assert np.abs(found["global"] - found["object"]).max() > 0.01
    other = model.encode_image(np.flip(picture, 1).copy(), "object")[0]
    assert np.abs(other - found["object"]).max() > 1e-3


def test_attention_of_a_box_cannot_be_followed(workdir):
    model = scenarioclip_jax.load(workdir)
    view = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    found = attribution.attention_rollout(model, view, "global")
    assert found.sum() == pytest.approx(1, rel=1e-5)
    with pytest.raises(ValueError, match="pooled regions"):
        attribution.attention_rollout(model, view, "object")


def test_the_folder_for_pytorch_leads_back(workdir, tmp_path):
    convert.main(["to-pytorch", f"--checkpoint={workdir}", f"--output={tmp_path / 'out'}"])
    ours, back = scenarioclip_jax.load(workdir), scenarioclip_jax.load(tmp_path / "out")
    assert back.params.keys() == ours.params.keys()
    for path, value in ours.params.items():
        np.testing.assert_array_equal(back.params[path], value, err_msg=path)


def test_new_parts_beside_those_of_clip():
    """Towers from CLIP; what CLIP doesn't have starts at random, as in a model from scratch."""
    config = tiny.config("unused", **RECIPE)
    config.model.text.eos_id = 2
    arguments = {k: v for k, v in config.model.to_dict().items() if k != "attention"}
    arguments |= {"arch": config.arch}
    rngs = nnx.Rngs(0)
    _, expected = parameters.split(ScenarioCLIP(**arguments, rngs=rngs))
    found = new_parts.new_parts(arguments, rngs)
    assert {path.split("/")[1] for path in found} == {"level", "pool", "boxes"}
    for path, value in found.items():
        assert value.shape == expected[path].shape
        spread = float(np.std(jax.device_get(expected[path])))
        assert float(np.std(value)) == pytest.approx(spread, rel=0.5, abs=1e-6), path
