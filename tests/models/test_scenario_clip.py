"""The three-level model: which branch serves a level, stems shared or not, frozen stems."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.scenario_clip import LEVELS, Inputs, ScenarioCLIP

VISION = dict(width=16, depth=2, heads=2, mlp_dim=32, stem_blocks=1, image_size=16, patch_size=8)
TEXT = dict(
    width=16, depth=2, heads=2, mlp_dim=32, stem_blocks=1, vocab_size=30, max_length=9, eos_id=29
)
RNG = np.random.default_rng(0)
INPUTS = Inputs(
    {
        level: RNG.normal(size=(n, 16, 16, 3)).astype(np.float32)
        for n, level in enumerate(LEVELS, 2)
    },
    {
        level: RNG.integers(0, 30, size=(n, 3 + n)).astype(np.int32)
        for n, level in enumerate(LEVELS, 2)
    },
)


def build(**arguments):
    values = dict(arch="scenario_clip_1", vision=VISION, text=TEXT, embed_dim=12)
    return parameters.create(lambda: ScenarioCLIP(**(values | arguments), rngs=nnx.Rngs(0)))


def run(graph, params):
    return jax.jit(lambda p: parameters.merge(graph, p)(INPUTS))(params)


def assert_close(a, b, **tolerances):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerances), a, b)


@pytest.mark.slow
def test_split_and_merge_are_inverse():
    graph, params = build()
    _, again = parameters.split(parameters.merge(graph, params))
    assert list(again) == list(params)
    assert all(np.array_equal(again[k], params[k]) for k in params)


@pytest.mark.slow
def test_a_shared_stem_is_the_separate_stems_when_they_are_equal():
    graph, shared = build(share_stem=True)
    separate_graph, separate = build(share_stem=False)
    for path in separate:
        part = path.split("/")
        if part[1] == "stem":
            part[2] = "shared"
        separate[path] = shared["/".join(part)]
    assert_close(run(graph, shared), run(separate_graph, separate), atol=1e-5)


@pytest.mark.slow
def test_scan_unrolling_and_remat_change_nothing():
    reference = run(*build())
    for arguments in ({"unroll": 2}, {"remat": "full"}, {"remat": "dots"}):
        assert_close(run(*build(**arguments)), reference, atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "branches"),
    [
        ("clip", {"global"}),
        ("pyramid_clip", {"all"}),
        ("scenario_clip_0", set(LEVELS)),
        ("scenario_clip_1", set(LEVELS)),
    ],
)
def test_branches(arch, branches):
    graph, params = build(arch=arch)
    assert {path.split("/")[2] for path in params if path.startswith("vision/trunk")} == branches
    # Every architecture answers for every level.
    for level in LEVELS:
        for shape in jax.eval_shape(
            lambda p, v=level: (
                parameters.merge(graph, p).encode_image(INPUTS.images[v], v),
                parameters.merge(graph, p).encode_text(INPUTS.ids[v], v),
            ),
            params,
        ):
            assert shape.shape[-1] == 12


def test_pooling_takes_the_first_end_of_text_and_nothing_behind_it_matters():
    graph, params = build(arch="clip")
    encode = jax.jit(lambda ids: parameters.merge(graph, params).encode_text(ids, "global"))
    ids = np.array([[1, 5, 29, 29, 29]], np.int32)
    other = np.array([[1, 5, 29, 7, 29]], np.int32)
    longer = np.array([[1, 5, 29, 29, 29, 29, 29]], np.int32)
    reference = encode(ids)
    np.testing.assert_allclose(encode(other), reference, atol=1e-6)
    np.testing.assert_allclose(encode(longer), reference, atol=1e-5)
    changed = np.array([[1, 6, 29, 29, 29]], np.int32)
    assert np.abs(encode(changed) - reference).max() > 1e-3


@pytest.mark.slow
def test_bfloat16_compute_keeps_float32_parameters():
    graph, params = build(dtype="bfloat16")
    assert {leaf.dtype for leaf in params.values()} == {jnp.dtype("float32")}
    half = run(graph, params)
    assert_close(half, run(build()[0], params), atol=0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arch": "siglip"}, "arch is 'siglip'.*pyramid_clip"),
        ({"remat": "x"}, "remat is 'x'.*dots"),
        ({"vision": VISION | {"heads": 3}}, "width 16 is not a multiple of heads 3"),
        ({"vision": VISION | {"patch_size": 5}}, "image_size 16 .* patch_size 5"),
        ({"text": TEXT | {"stem_blocks": 3}}, "stem_blocks 3 is not between 0 and depth 2"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)
