"""Planning for a pod: the program for the command line, and what it is made of."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from scenarioclip_jax.aot import largest, plan, plan_text, topology
from scenarioclip_jax.costs import chips, memory, roofline
from scenarioclip_jax.costs.collectives import Collective, collectives, sent, summary
from scenarioclip_jax.costs.flops import Count, Flops
from scenarioclip_jax.train.config import data_settings
from tests.parallel import programs
from tests.train import tiny

REPOSITORY = Path(__file__).parents[2]
GIB = 2**30
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)


def aot(*flags, **changes) -> subprocess.CompletedProcess:
    """The program in a process of its own, for a tiny CLIP: one pair of towers compiles fastest."""
    values = {k: v for k, v in tiny.SIZES.items() if k.split(".")[0] in ("model", "data")}
    values |= {"arch": "clip"} | {key.replace("__", "."): value for key, value in changes.items()}
    command = [sys.executable, "-m", "scenarioclip_jax.aot", "--config=configs/pretrain.py:demo"]
    command += [f"--config.{key}={value}" for key, value in values.items()]
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    return subprocess.run(
        [*command, *flags],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment,
        timeout=300,
        check=False,
    )


def test_a_file_that_cannot_be_written_is_refused_first(tmp_path):
    done = aot("--topology=v5e:2x2", f"--json={tmp_path / 'nowhere' / 'plan.json'}")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "No such file" in done.stderr
    assert "Traceback" not in done.stderr


@needs_libtpu
def test_a_plan_that_fits(tmp_path):
    path = tmp_path / "plan.json"
    # A batch that four chips can't split as it is.
    done = aot("--topology=v5e:2x2", "--quick", f"--json={path}", data__batch_size=6)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It fits" in done.stdout
    assert (
        "the real run needs: --config.data.batch_size=8 --config.data.packing_groups=4"
        in done.stdout
    )
    assert "Traceback" not in done.stderr

    report = json.loads(path.read_text())
    assert report["fits"] is True
    assert (report["topology"], report["chip"], report["devices"]) == ("v5e:2x2", "v5e", 4)
    assert (report["global_batch"], report["scenes_per_device"]) == (8, 2)
    found = report["memory"]
    # Every parameter trains: itself and its average, and two moments; and a few counters.
    parameters = parameters_of_a_tiny_clip()
    assert 0 <= found["parameters"] - 2 * 4 * parameters <= 64
    assert 0 <= found["optimizer"] - 2 * 4 * parameters <= 64
    # Two scenes: a canvas of 40 x 40 pixels each, and the slots of 4.7 objects and 3 relations.
    assert 2 * 40 * 40 * 3 < found["batch"] < 20_000
    held = found["parameters"] + found["optimizer"] + found["batch"]
    assert held <= found["arguments"] < held + 20 * 2**20  # tiles are filled up
    takes = ("arguments", "results", "activations", "program")
    assert report["needed"] == sum(found[name] for name in takes) < report["limit"] < 16 * GIB
    assert report["flops"]["model"] < report["flops"]["hardware"]
    assert set(report["flops"]["by_part"]) == {"vision", "text", "loss", "views"}
    # Gradients are summed over all chips; 8 of the text tower's 24 positions are beyond every text.
    assert report["collectives"]["all-reduce"]["bytes"] >= 4 * (parameters - 8 * 16)
    bound = report["roofline"]
    assert bound["seconds"] == bound[bound["limit"]] > 0
    mfu = report["flops"]["model"] / 4 / 197e12
    expected = {"0.11": mfu / 0.11, "0.39": mfu / 0.39}
    expected = {share: max(seconds, bound["seconds"]) for share, seconds in expected.items()}
    assert report["seconds_at_mfu"] == pytest.approx(expected)
    assert "published contrastive training reaches 11% to 39% MFU" in done.stdout
    assert "expect less than the bound" in done.stdout  # of so small a model
    assert report["compile_seconds"] > 0


def parameters_of_a_tiny_clip() -> int:
    """Of what `aot` plans for, by hand: width 16, MLP 32, vocabulary 512, embeddings of 16."""
    block = 2 * 32 + 16 * 48 + 48 + 16 * 16 + 16 + 16 * 32 + 32 + 32 * 16 + 16
    head = 16 * 16 + 16 + 2 * 16
    vision = 16 * 16 * 3 * 16 + 16 + 5 * 16 + 2 * 16 + 2 * block + 2 * 16 + head
    text = 512 * 16 + 24 * 16 + block + 2 * 16 + head
    return vision + text + 1  # and the logit scale


@needs_libtpu
def test_a_plan_that_does_not_fit(tmp_path):
    path = tmp_path / "plan.json"
    done = aot("--topology=v5e:2x2", "--quick", f"--json={path}", data__batch_size=4_000_000)
    assert done.returncode == 1
    assert "It does not fit" in done.stdout
    for advice in ("loss.accumulate=", "model.remat=dots", "model.dtype=bfloat16", "batch_size="):
        assert advice in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    report = json.loads(path.read_text())
    assert report["fits"] is False
    assert report["needed"] > report["limit"]


@needs_libtpu
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--topology=v5e:3x3"], "--topology=v5e:3x3: no such pod; there are v5e:2x2, 2x4, 4x4"),
        ([], "--topology is missing"),
        (["--topology=v5e:2x2", "--config.mesh.data=3"], "config.mesh: data=3"),
        (["--topology=v5e:2x2", "--config.model.remta=full"], "did you mean remat?"),
        (["--topology=v5e:2x2", "--config.model.remat=some"], "config.model.remat='some'"),
    ],
)
def test_errors_are_readable(flags, message):
    done = aot(*flags)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_libtpu(monkeypatch):
    monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(topology.TopologyError, match=r"pip install 'scenarioclip_jax\[tpu\]'"):
        topology.pod("v5e:2x2")


@pytest.mark.parametrize(
    ("message", "needed", "limit"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries "
            "(400.00G) exceeds available HBM (15.75G).",
            400 * GIB,
            15.75 * GIB,
        ),
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used "
            "17.00G of 15.75G hbm. Exceeded hbm capacity by 1.25G.",
            17 * GIB,
            15.75 * GIB,
        ),
    ],
)
def test_refusals(message, needed, limit):
    assert topology.read_refusal(message) == (needed, limit)


def test_other_errors_are_no_refusals():
    assert topology.read_refusal("INTERNAL: 400.00G exceeds 15.75G") is None


@pytest.mark.parametrize(
    ("batch", "groups", "parts", "ways", "expected"),
    [
        (128, 8, 1, 8, {}),  # fits as it is
        (128, 8, 1, 16, {"data.batch_size": 128, "data.packing_groups": 16}),
        (128, 8, 1, 256, {"data.batch_size": 256, "data.packing_groups": 256}),
        (
            65_536,
            8,
            1,
            256,
            {"data.batch_size": 65_536, "data.packing_groups": 4096},
        ),  # 16 scenes a group
        (
            65_536,
            8,
            32,
            256,
            {"data.batch_size": 65_536, "data.packing_groups": 8192},
        ),  # 8, in 32 parts
        (100, 4, 3, 4, {"data.batch_size": 108, "data.packing_groups": 12}),
    ],
)
def test_a_batch_that_the_mesh_can_split(batch, groups, parts, ways, expected):
    config = tiny.config(
        "", data__batch_size=batch, data__packing_groups=groups, loss__accumulate=parts
    )
    assert plan.fit_batch(config, ways) == expected
    groups, size = config.data.packing_groups, config.data.batch_size
    assert size >= batch
    assert size % groups == 0
    assert groups % (ways * parts) == 0


def test_a_search_keeps_to_the_groups_of_the_config():
    config = tiny.config("", data__batch_size=128, data__packing_groups=1)
    plan.fit_batch(config, ways=4, scenes=216)
    assert (config.data.batch_size, config.data.packing_groups) == (4 * 216, 8)  # of 108 scenes


@pytest.mark.parametrize("scenes", [1, 376, 504])
def test_groups_that_hold_whole_rows_of_patches(scenes):
    packed = {"arch": "scenario_clip_1", "model__patch_packing": True, "data__patch_row_views": 4}
    config = tiny.config("", data__batch_size=128, data__packing_groups=1, **packed)
    plan.fit_batch(config, ways=4, scenes=scenes)
    assert data_settings(config).scenes % 4 == 0
    assert config.data.batch_size >= 4 * scenes


@pytest.mark.parametrize("start", [8, 64])
@pytest.mark.parametrize("power", [0.8, 1.0, 1.3])
@pytest.mark.parametrize("most", [3, 8, 40, 129, 5000])
def test_search(power, most, start):
    """Few trials, and the answer is as close as it promises, whether memory is a straight line or not."""
    tried = []

    def needs(n):
        tried.append(n)
        return 3.0 + (n / most) ** power

    fits, too_large = largest.search(needs, 4.0, unit=8, start=start, base=2.5)
    assert len(tried) == len(set(tried)) <= 8
    assert all(n % 8 == 0 for n in tried)
    assert fits <= most < too_large
    assert too_large - fits <= max(8, fits / 16)


def test_search_of_what_never_fits():
    assert largest.search(lambda n: 10.0 + n, 4.0, unit=8, start=64) == (0, 8)


def test_device_bytes():
    mesh = programs.mesh_of("2x4x1")

    def like(shape, dtype, *axes):
        return jax.ShapeDtypeStruct(
            shape, dtype, sharding=NamedSharding(mesh, PartitionSpec(*axes))
        )

    tree = {
        "whole": like((3, 5), jnp.float32),
        "split": like((8, 6), jnp.bfloat16, ("data", "fsdp")),
        "partly": like((7, 8), jnp.uint8, None, "fsdp"),
    }
    assert memory.device_bytes(tree) == 3 * 5 * 4 + 6 * 2 + 7 * 2


TPU_PROGRAM = """HloModule step, is_scheduled=true

%turn (p: (s32[], f32[4])) -> pred[] {
  %limit.1 = s32[]{:T(128)} constant(6)
  %p = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %limit.1), direction=LT, metadata={op_name="lt"}
}

%fused (a: f32[4]) -> f32[8] {
  %a = f32[4]{0:T(128)} parameter(0)
  ROOT %g = f32[8]{0:T(128)} all-gather(%a), replica_groups={{0,1},{2,3}}, dimensions={0}
}

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  %f = f32[8]{0:T(128)} fusion(%p), kind=kCustom, calls=%fused
  %r = (bf16[1,8]{1,0:T(8,128)(2,1)S(1)}, /*index=1*/f32[]{:T(128)}) all-reduce(%x, %y), \
replica_groups=mesh['a'=16,'b'=8]{'a','b'}, to_apply=%add
  ROOT %t = (s32[]{:T(128)}, f32[4]{0:T(128)}) tuple(%p, %f)
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0:T(128)} parameter(0)
  %s = (f32[4]{0:T(128)}, f32[4]{0:T(128)}, u32[]{:S(2)}) collective-permute-start(%a), channel_id=1
  %d = f32[4]{0:T(128)} collective-permute-done(%s)
  %w = (s32[]{:T(128)}, f32[4]{0:T(128)}) while(%tuple), condition=%turn, body=%body
  ROOT %e = f32[4]{0:T(128)} reduce-scatter(%a), replica_groups=[2,4]<=[8], to_apply=%add
}
"""


def test_collectives_of_a_tpu_program():
    """Loops without a noted length, pairs of instructions, fusions, and three ways to write groups."""
    assert collectives(TPU_PROGRAM) == [
        Collective("collective-permute", "f32[4]{0:T(128)}", 16, 1, 0),
        Collective("all-gather", "f32[8]{0:T(128)}", 32, 6, 2),
        Collective(
            "all-reduce",
            "(bf16[1,8]{1,0:T(8,128)(2,1)S(1)}, /*index=1*/f32[]{:T(128)})",
            20,
            6,
            128,
        ),
        Collective("reduce-scatter", "f32[4]{0:T(128)}", 16, 1, 4),
    ]
    assert summary(TPU_PROGRAM)["all-gather"] == {"instructions": 1, "bytes": 192}


def test_a_loop_of_unknown_length_is_an_error():
    with pytest.raises(ValueError, match="unknown length"):
        collectives(TPU_PROGRAM.replace("direction=LT", "direction=NE"))


@pytest.mark.parametrize(
    ("kind", "factor"),
    [
        ("all-gather", 3 / 4),
        ("all-reduce", 3 / 2),
        ("reduce-scatter", 3),
        ("collective-permute", 1),
    ],
)
def test_bytes_on_the_wire(kind, factor):
    assert sent(Collective(kind, "", 100, 5, 4), 64) == 500 * factor
    assert sent(Collective("all-reduce", "", 100, 1, 0), 2) == 100


def test_roofline_by_hand():
    chip = chips.Chip("test", "", peak=10.0, hbm=0, hbm_bandwidth=4.0, links=2, link_bandwidth=5.0)
    flops = Flops({"vision": Count(100, 200), "loss": Count(5, 10)})
    takes = memory.ProgramMemory(arguments=6, results=0, temporary=10, code=1)
    found = [
        Collective("collective-permute", "", 20, 1, 0),
        Collective("all-reduce", "", 30, 1, 2),
    ]
    bound = roofline.roofline(chip, 2, flops, takes, found, accumulate=3, loss_dtype="float32")
    # 200 and six passes of 10 on two chips; state both ways and three parts both ways; a ring on one link.
    assert bound == (130 / 10, (2 * 6 + 3 * 2 * 10) / 4, 20 / 5 + 30 / 2 / 5)
    assert (bound.limit, bound.seconds) == ("memory", 18.0)
    # One pass of the loss's 10 if its factors are bfloat16.
    fast = roofline.roofline(chip, 2, flops, takes, found, accumulate=3, loss_dtype="bfloat16")
    assert fast == bound._replace(compute=(200 + 10) / 2 / 10)
    assert roofline.seconds_at(0.5, chip, 2, flops) == 105 / 2 / 10 / 0.5


def test_advice_names_only_what_is_left_to_do():
    report = {
        "settings": {
            "model.dtype": "bfloat16",
            "model.remat": "full",
            "model.share_stem": True,
            "loss.accumulate": 4,
        },
        "memory": {"parameters": 3 * GIB, "optimizer": 2 * GIB},
        "limit": 16 * GIB,
        "mesh": {"fsdp": 1},
        "devices": 4,
        "scenes_per_device": 8,
        "global_batch": 32,
    }
    advice = list(plan_text.advices(report))
    assert [a.split()[0] for a in advice] == [
        "--config.loss.accumulate=8",
        "--config.mesh.fsdp=4",
        "--config.data.batch_size=16",
        "a",
    ]
