"""The train step: exact gradient accumulation, and parameters of the loss."""

import math

import jax
import numpy as np
import pytest

from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.costs.collectives import collectives
from scenarioclip_jax.parallel.mesh import make_mesh
from scenarioclip_jax.train.accumulate import embed_batch
from scenarioclip_jax.train.config import check, resolve
from scenarioclip_jax.train.setup import set_up
from tests.parallel import programs
from tests.train import tiny

# The architecture that compiles fastest stands for the one that has every part.
ARCHITECTURES = ["clip", pytest.param("scenario_clip_1", marks=pytest.mark.slow)]


def one_step(arch, mesh, other_teacher=False, **changes):
    """A step of a run's beginning; or with a teacher that is another model than the student."""
    program = programs.program(arch, mesh, **changes)
    shared = {k: v for k, v in changes.items() if k == "model__share_stem"}
    start = programs.start(arch, **shared)
    if other_teacher:
        rng = np.random.default_rng(0)
        noisy = {k: x + 0.1 * rng.normal(size=x.shape).astype("f") for k, x in start.ema.items()}
        start = start._replace(ema=noisy, ema_steps=np.int32(50))
    start = start._replace(ema={path: start.ema[path] for path in program.run.state_like.ema})
    state, (metrics,) = programs.run_steps(program, start, 1)
    return jax.device_get(state), metrics


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_accumulated_gradient_is_that_of_the_whole_batch(arch):
    expected, metrics = one_step(arch, "1x1x1")
    state, ours = one_step(arch, "2x2x2", loss__accumulate=2)
    assert arch == "clip" or metrics["loss/distillation"] > 1
    assert ours.keys() == metrics.keys()
    for name, value in metrics.items():
        assert ours[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    # Adam's first moment after one step is the gradient, clipped and times 0.1.
    for path, moment in expected.opt_state[1].mu.items():
        np.testing.assert_allclose(
            state.opt_state[1].mu[path], moment, rtol=1e-5, atol=1e-7, err_msg=path
        )


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_accumulation_moves_no_activation(arch):
    """Its second pass is traced by itself, and needs to be told the mesh like the first."""
    program = programs.program(arch, "2x2x2", loss__accumulate=2)
    (_, _, tensor), parameters = programs.MESHES["2x2x2"], program.run.state_like.student().values()
    by_layer = {math.prod(p.shape[1:]) // tensor for p in parameters} | {p.size for p in parameters}
    for kind, shape, size, *_ in collectives(program.step.as_text()):
        assert kind in ("all-gather", "all-reduce", "collective-permute"), (kind, shape)
        if kind == "all-gather":
            assert size // 4 in by_layer, shape


@pytest.mark.slow  # test_run.py has a whole run with such an average
@pytest.mark.parametrize("share_stem", [False, True])
def test_an_average_of_what_the_teacher_runs_is_enough_for_the_teacher(share_stem):
    """Of three pairs of towers it runs one for pictures and two for texts."""
    changes = {"other_teacher": True, "model__share_stem": share_stem}
    whole, metrics = one_step("scenario_clip_1", "1x1x1", **changes)
    part, ours = one_step("scenario_clip_1", "1x1x1", ema__keep="teacher", **changes)
    # Were the student's values used anywhere in its place, the loss would be another.
    assert ours == pytest.approx(metrics, rel=1e-6)
    assert not any("/relation/" in path for path in part.ema if path.startswith("vision"))
    for path, value in part.ema.items():
        np.testing.assert_allclose(value, whole.ema[path], rtol=1e-5, atol=1e-7, err_msg=path)
    assert whole.weights().keys() == {"student", "ema"}
    assert part.weights().keys() == {"student"}
    assert part.teacher().keys() == part.student().keys()


# One program for two tests that need nothing of each other.
SIGMOID = {"loss__kind": "sigmoid", "optimizer__skip_nonfinite": 3}


def test_a_step_that_is_no_number_changes_nothing_but_is_counted():
    program, start = programs.program("clip", "1x1x1", **SIGMOID), programs.start("clip", **SIGMOID)
    (path, *_) = (k for k in start.trainable if k.endswith("fc1/kernel"))
    broken = start.trainable | {path: np.full_like(start.trainable[path], np.nan)}
    state, (metrics,) = programs.run_steps(program, start._replace(trainable=broken), 1)
    assert not np.isfinite(metrics["loss/total"])
    assert (int(state.step), int(state.skipped), metrics["skipped_steps"]) == (1, 1, 1)
    for before, after in ((broken, state.trainable), (start.ema, state.ema)):
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(after), before)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.opt_state), start.opt_state)

    assert int(state.ema_steps) == 0

    # A teacher that came with so many updates goes on warming up from there, to 0.99 after 100.
    state, (metrics,) = programs.run_steps(program, start._replace(ema_steps=np.int32(50)), 1)
    assert (int(state.step), int(state.skipped), metrics["skipped_steps"]) == (1, 0, 0)
    assert int(state.ema_steps) == 51
    assert metrics["ema_decay"] == pytest.approx(0.99 / 2)
    assert not np.array_equal(state.trainable[path], start.trainable[path])


GROUPS, WIDTH = 8, 256


def embed(params, batch):
    """A tower that keeps many activations; the second result is no function of `params`."""
    x = batch["x"]
    for _ in range(6):
        x = jax.nn.silu(x @ params["w"])
    return {"e": x[..., :4]}, batch["x"].sum(-1)


def loss_and_gradient(params, batch, parts):
    embeddings, others, pull_back = embed_batch(embed, params, batch, parts)

    def loss(embeddings):  # of all pairs, so no sum over parts of the batch
        rows = embeddings["e"].reshape(-1, 4)
        return jax.nn.logsumexp(rows @ rows.T, axis=1).sum() + (others * rows.sum()).mean()

    value, derivative = jax.value_and_grad(loss)(embeddings)
    return value, pull_back(derivative)["w"], others


@pytest.mark.parametrize("parts", [2, 8])
def test_parts_of_a_batch(parts):
    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5}
    batch = {"x": rng.normal(size=(GROUPS, 16, WIDTH)).astype(np.float32)}
    step = jax.jit(loss_and_gradient, static_argnums=2)
    whole, split = (step.lower(params, batch, n).compile() for n in (1, parts))
    expected, ours = whole(params, batch), split(params, batch)
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)

    # Activations of one part at a time are what it is for. The gradient is there twice.
    def memory(compiled):
        return compiled.memory_analysis().temp_size_in_bytes

    activations = GROUPS * 16 * WIDTH * 4 * 6
    assert memory(split) < memory(whole) - activations * (1 - 1 / parts) / 2


def test_only_the_sigmoid_loss_has_a_bias_and_learns_it():
    start = programs.start("clip", **SIGMOID)
    state, rows = programs.run_steps(programs.program("clip", "1x1x1", **SIGMOID), start, 3)
    assert rows[0]["logit_bias/global"] == -10
    assert rows[0]["logit_scale/global"] == pytest.approx(10, rel=1e-6)
    assert state.trainable["logit_bias/global"] != -10
    assert rows[-1]["loss/total"] < rows[0]["loss/total"]
    assert not any(
        "logit_bias" in path for path in programs.run("clip", "1x1x1").state_like.trainable
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss__kind": "hinge"}, r"config\.loss\.kind='hinge'.*softmax, sigmoid"),
        ({"loss__accumulate": 0}, r"config\.loss\.accumulate=0: must be a divisor of 2"),
        ({"optimizer__mu_dtype": "int8"}, r"config\.optimizer\.mu_dtype='int8'.*float32, bfloat16"),
        ({"ema__keep": "teacher"}, r"config\.ema\.keep=teacher .* distills nothing"),
        ({"loss__accumulate": 4}, r"config\.loss\.accumulate=4: .*data\.packing_groups 8 / 4"),
    ],
)
def test_bad_loss_settings(changes, message, tmp_path):
    check(tiny.config(tmp_path, loss__accumulate=2, loss__kind="sigmoid"), batch_ways=4)
    check(tiny.config(tmp_path, ema__keep="teacher", ema__decay=0.0), batch_ways=4)
    with pytest.raises(ConfigError, match=message):
        check(tiny.config(tmp_path, **changes), batch_ways=4)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["scenario_clip_2", "pyramid_clip"])
def test_levels_of_the_unpublished_architecture_diverge(tmp_path, arch):
    config = resolve(tiny.config(tmp_path, arch=arch), eos_id=1)
    run = set_up(config, make_mesh(), scenes=16)
    _, metrics = jax.eval_shape(run.train_step, run.state_like, run.batch_like)
    assert ("loss/divergence" in metrics) == (arch == "scenario_clip_2")
