"""The analytical count of FLOPs against every matrix product of the real train step, exactly."""

import math

import jax
import pytest
from jax.extend import core
from jax.interpreters import partial_eval

from scenarioclip_jax.costs import chips
from scenarioclip_jax.costs.flops import block_flops, train_step_flops
from scenarioclip_jax.parallel.mesh import BATCH_AXES, batch_ways
from scenarioclip_jax.train.config import data_settings, distills, resolve
from scenarioclip_jax.train.objective import TERMS
from scenarioclip_jax.train.setup import batch_like, set_up
from tests.parallel import programs
from tests.train import tiny

PUBLISHED = [
    (r"vision/stem/\w+/pre_norm/.*", True),
    (r"(vision|text)/stem/.*", False),
    (r".*", True),
]
FROZEN = [(r"(vision|text)/stem/.*", False), (r".*", True)]
SOME_KERNELS = [  # a stem in which only part of the MLP trains, a trunk in which attention's output doesn't
    (r".*/stem/.*/fc1/.*", True),
    (r".*/stem/.*|.*/out/.*", False),
    (r".*", True),
]
DEEP = {"vision__depth": 4, "vision__stem_blocks": 2, "text__depth": 3, "text__stem_blocks": 1}
CASES = {
    "all train": {},
    "clip": {"arch": "clip"},
    "one pair of towers": {"arch": "pyramid_clip"},
    "no stem": {"model__vision__stem_blocks": 0, "model__text__stem_blocks": 0},
    "as published": {"trainable": PUBLISHED},
    "frozen stem": {"trainable": FROZEN},
    "shared frozen stem": {"trainable": FROZEN, "model__share_stem": True},
    "shared stem that trains": {"model__share_stem": True},
    "some kernels": {"trainable": SOME_KERNELS},
    "remat dots": {"model__remat": "dots"},
    "remat dots, some kernels": {"model__remat": "dots", "trainable": SOME_KERNELS},
    "remat full": {"model__remat": "full", "trainable": SOME_KERNELS},
    # 1,133 objects: two chunks of the loss, which they don't fill
    "chunks": {"arch": "pyramid_clip", "data__batch_size": 241, "data__packing_groups": 1},
    "accumulate": {"loss__accumulate": 2, "trainable": PUBLISHED},
    "accumulate, shared frozen stem": {
        "loss__accumulate": 2,
        "trainable": FROZEN,
        "model__share_stem": True,
        "model__remat": "full",
    },
    "shared towers that are told the level": {"arch": "scenario_clip_shared"},
    "pooled regions": {
        "arch": "scenario_clip_shared",
        "model__regions": "pooled",
        "loss__accumulate": 2,
    },
    "ends as objects": {
        "arch": "scenario_clip_0",
        "model__regions": "pooled",
        "model__object_parts": 2,
        "model__ends_as_objects": True,
    },
    "a recipe's terms": {
        "mesh": "2x2x2",
        **{f"loss__terms__{name}": 1.0 for name in TERMS},
        "data__levels__relation__further_per_scene": 5.0,
        "data__levels__scene__further_per_scene": 1.0,
    },
    "eight devices": {"mesh": "8x1x1", "trainable": PUBLISHED},
    "all axes": {"mesh": "2x2x2", "loss__accumulate": 2},
}


def build(mesh="1x1x1", trainable=None, **changes):
    """Config, mesh, settings and run of tiny towers, deep enough for stem and trunk."""
    sizes = {f"model__{name}": value for name, value in DEEP.items()}
    changes = {"arch": "scenario_clip_1"} | sizes | changes
    config = tiny.config("unused", steps=10, **changes)
    config.model.text.eos_id = programs.EOS
    if trainable:
        config.trainable = trainable
    mesh = programs.mesh_of(mesh)
    settings = data_settings(config, focus_images=False)
    return config, mesh, settings, set_up(resolve(config), mesh, scenes=160)


def predicted(config, mesh, settings, run):
    return train_step_flops(
        run.spec.model,
        run.state_like.trainable,
        settings,
        distills=distills(config),
        accumulate=config.loss.accumulate,
        batch_ways=batch_ways(mesh),
        terms=config.loss.terms.to_dict(),
    )


def executed(run, settings, mesh) -> int:
    """FLOPs of all matrix products of the train step, over all devices of the batch axes."""
    jaxpr = jax.make_jaxpr(run.train_step)(run.state_like, batch_like(settings, mesh)).jaxpr
    # As the compiler does: what no result depends on isn't computed.
    jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return products(jaxpr)


def products(jaxpr) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        assert eqn.primitive.name not in ("while", "cond") or not any(
            products(inner) for inner in bodies(eqn)
        ), "a product in a loop of unknown length"
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            depth = math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * depth * eqn.outvars[0].aval.size
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        if eqn.primitive.name == "shard_map":
            # Along `tensor` all devices compute the same; that isn't counted.
            times = math.prod(eqn.params["mesh"].shape[axis] for axis in BATCH_AXES)
        total += times * sum(products(inner) for inner in bodies(eqn))
    return total


def bodies(eqn):
    for value in eqn.params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, core.ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, core.Jaxpr):
                yield each


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_product_is_counted(case):
    config, mesh, settings, run = build(**CASES[case])
    assert predicted(config, mesh, settings, run).hardware == executed(run, settings, mesh)


def test_block_by_hand():
    """Width 8, MLP 16, 3 tokens: [3, 8] @ [8, 24], two attention products of 3 x 3 x 8, and so on."""
    block = block_flops(8, 16, 3)
    assert block == (2 * 3 * 8 * 24, 2 * 3 * 3 * 8, 2 * 3 * 3 * 8, 2 * 3 * 8 * 8, 768, 768)
    assert sum(block) == 3360


def test_step_by_hand():
    """One scene level, one block in each tower, all of it trained: what one can do on paper."""
    config, mesh, settings, run = build(
        arch="clip",
        model__vision__depth=1,
        model__vision__stem_blocks=0,
        model__text__depth=1,
        model__text__stem_blocks=0,
    )
    parts = predicted(config, mesh, settings, run).by_part
    scenes, width, mlp, dim = 16, 16, 32, 16
    patches = (
        2 * 4 * (3 * 16 * 16) * width
    )  # 32 pixels, patches of 16: 4 of them, and a class token
    head = 2 * width * dim
    vision = 2 * patches + 3 * (sum(block_flops(width, mlp, 5)) + head)
    assert parts["vision"] == (scenes * vision,) * 2
    length = settings.level("global").text_length
    assert parts["text"] == (scenes * 3 * (sum(block_flops(width, mlp, length)) + head),) * 2
    assert parts["loss"] == (3 * 2 * 16 * 16 * dim, 4 * 2 * 16 * 16 * dim)
    assert "teacher" not in parts
    assert parts["views"].model == 0


@pytest.mark.slow
def test_model_flops_do_not_depend_on_how_they_are_computed():
    plain, thrifty = (
        predicted(*build(trainable=PUBLISHED, **changes))
        for changes in ({}, {"loss__accumulate": 2, "model__remat": "full"})
    )
    assert plain.model == thrifty.model
    assert plain.hardware < thrifty.hardware
    for part in ("vision", "text", "teacher"):
        assert plain.by_part[part].model == plain.by_part[part].hardware


def test_fused_kernels_compute_scores_once_more():
    """In the backward pass, of rows that are long enough; nowhere else, and the model's count stays."""
    sizes = {
        "model__dtype": "bfloat16",
        "model__vision__image_size": 32,
        "model__vision__patch_size": 2,
        "model__vision__depth": 3,
        "model__vision__stem_blocks": 1,
        "trainable": FROZEN,
    }
    *_, settings, run = build(arch="clip", **sizes)
    arguments = run.spec.model, run.state_like.trainable, settings
    plain, fused = (
        train_step_flops(*arguments, distills=False, attention=kind) for kind in ("plain", "cudnn")
    )
    again = (
        16 * 2 * (2 * 257 * 257 * 16)
    )  # two trained blocks for 16 pictures of 1 + 16 x 16 tokens
    assert fused.by_part["vision"].hardware - plain.by_part["vision"].hardware == again
    assert fused.by_part["text"] == plain.by_part["text"]
    assert fused.model == plain.model


def test_vit_b32_is_as_large_as_reported():
    """4.4 G multiply-adds a picture (table of torchvision's vit_b_32: 4.41)."""
    patches = 2 * 49 * 3072 * 768
    forward = patches + 12 * sum(block_flops(768, 3072, 50)) + 2 * 768 * 1000
    assert forward / 2 == pytest.approx(4.41e9, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "name", "peak"),
    [
        ("TPU v4", "v4", 275e12),
        ("TPU v5 lite", "v5e", 197e12),
        ("TPU v5", "v5p", 459e12),
        ("TPU v5p", "v5p", 459e12),
        ("TPU v6 lite", "v6e", 918e12),
        ("TPU7x", "TPU7x", 1153.5e12),
        ("NVIDIA A100-SXM4-80GB", "A100 80 GB", 312e12),
        ("NVIDIA H100 80GB HBM3", "H100 SXM", 989e12),
        ("NVIDIA H100 PCIe", "H100 PCIe", 756e12),
        ("NVIDIA H200", "H200", 989e12),
    ],
)
def test_chips(kind, name, peak):
    assert chips.chip_of(kind).name == name
    assert chips.peak_flops(kind) == peak


def test_unknown_chips_have_no_peak():
    assert chips.peak_flops("cpu") is None
    assert chips.peak_flops("TPU v9") is None
