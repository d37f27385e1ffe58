"""Weights between two models: the ends are the models themselves, and nothing else can be mixed."""

import numpy as np
import pytest

import scenarioclip_jax
from scenarioclip_jax import checkpoint, convert
from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.interop.interpolate import interpolate
from tests.evaluation import tiny_model
from tests.interop import helpers

TEXTS = ["a red circle", "a blue square left of a star"]


@pytest.fixture(scope="module")
def models(small_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [tiny_model.write_model(folder / str(seed), small_data, seed) for seed in (0, 1)]


def mixed(models, tmp_path, *more):
    base, tuned = models
    output = tmp_path / "mixed"
    command = ["interpolate", f"--base={base}", f"--checkpoint={tuned}", f"--output={output}"]
    convert.main([*command, *more])
    return output


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "which"), [("0", 0), ("1", 1)])
def test_the_ends_are_the_models_themselves(models, tmp_path, alpha, which):
    output = mixed(models, tmp_path, f"--alpha={alpha}")
    expected = scenarioclip_jax.load(models[which])
    found = scenarioclip_jax.load(output)
    assert found.spec == expected.spec
    for path, value in expected.params.items():
        np.testing.assert_array_equal(found.params[path], value, err_msg=path)
    np.testing.assert_array_equal(found.encode_text(TEXTS), expected.encode_text(TEXTS))


@pytest.mark.slow
def test_halfway(models, tmp_path):
    (base, _), (tuned, _) = map(checkpoint.load_params, models)
    found, _ = checkpoint.load_params(mixed(models, tmp_path))
    for path, value in found.items():
        np.testing.assert_allclose(value, (base[path] + tuned[path]) / 2, atol=1e-7, err_msg=path)


def test_the_average_of_a_run_can_be_mixed(models, tmp_path):
    ema, _ = checkpoint.load_params(models[1], weights="ema")
    output = mixed(models, tmp_path, "--alpha=1", "--weights=ema")
    found, _ = checkpoint.load_params(output)
    for path, value in found.items():
        np.testing.assert_array_equal(value, ema[path], err_msg=path)


def test_what_is_equal_stays_equal_to_the_last_bit():
    value = np.random.default_rng(0).normal(size=1000).astype("f")
    for alpha in (0.1, 1 / 3, 0.7):
        (found,) = interpolate({"w": value}, {"w": value}, alpha).values()
        np.testing.assert_array_equal(found, value)


def test_models_of_two_kinds_cannot_be_mixed():
    one = {"a/kernel": np.zeros((2, 3)), "b": np.zeros(1)}
    with pytest.raises(CheckpointError, match=r"aren't of one kind: a/kernel, c aren't"):
        interpolate(one | {"c": np.zeros(2)}, {"a/kernel": np.zeros((3, 2)), "b": np.zeros(1)}, 0.5)


@pytest.mark.parametrize("alpha", ["1.5", "-0.1", "nan", "half"])
def test_shares_that_are_none(models, tmp_path, alpha, capsys):
    with pytest.raises(SystemExit):
        mixed(models, tmp_path, f"--alpha={alpha}")
    assert "must be a number from 0 to 1" in capsys.readouterr().err
    assert not (tmp_path / "mixed").exists()


def test_plain_clip_is_a_base_and_so_are_other_ends_of_the_stems(tmp_path):
    clip = helpers.write_clip(tmp_path / "clip")
    command = ["from-huggingface", f"--model={clip}", "--arch=pyramid_clip", "--head=clip"]
    convert.main([*command, "--vision-stem-blocks=0", f"--output={tmp_path / 'run'}"])
    for base in (clip, tmp_path / "run"):
        output = tmp_path / f"between-{base.name}"
        command = ["interpolate", f"--base={base}", f"--checkpoint={tmp_path / 'run'}"]
        convert.main([*command, f"--output={output}", "--alpha=0.5"])
        found, _ = checkpoint.load_params(output)
        expected, _ = checkpoint.load_params(tmp_path / "run")
        helpers.assert_same(found, expected)


def test_heads_that_a_run_began_with_are_those_of_its_seed(tmp_path):
    clip = helpers.write_clip(tmp_path / "clip")
    command = ["from-huggingface", f"--model={clip}", "--arch=pyramid_clip", "--seed=3"]
    convert.main([*command, f"--output={tmp_path / 'run'}"])
    (tmp_path / "run" / "config.json").write_text('{"init_heads": "new", "seed": 3}')
    output = tmp_path / "between"
    command = ["interpolate", f"--base={clip}", f"--checkpoint={tmp_path / 'run'}"]
    convert.main([*command, f"--output={output}", "--alpha=0"])
    found, _ = checkpoint.load_params(output)
    helpers.assert_same(found, checkpoint.load_params(tmp_path / "run")[0])
