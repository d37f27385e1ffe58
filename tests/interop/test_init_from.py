"""`config.init_from`: what a run may start from, and what it is told when sizes differ."""

import copy
import re
import shutil

import numpy as np
import pytest

from scenarioclip_jax import checkpoint, convert
from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.inference import Model
from scenarioclip_jax.interop import initial
from scenarioclip_jax.interop.plain_clip import open_plain_clip
from scenarioclip_jax.loading import load
from scenarioclip_jax.models.scenario_clip import INITIAL_LOGIT_BIAS, LEVELS
from scenarioclip_jax.shell import to_paste
from tests.interop import helpers


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return helpers.write_clip(tmp_path_factory.mktemp("clip") / "model")


@pytest.fixture(scope="module")
def model(clip):
    return initial.arguments_from_clip(
        open_plain_clip(str(clip)), arch="scenario_clip_1", embed_dim=24
    )


@pytest.fixture(scope="module")
def converted(clip, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "out"
    convert.main(
        ["from-huggingface", f"--model={clip}", f"--output={out}", "--embed-dim=24", "--seed=5"]
    )
    return out


def test_a_clip_model_gives_towers_and_new_heads(clip, model):
    params, ema, ema_steps = initial.init_from(str(clip), model, seed=1)
    assert (ema, ema_steps) == (None, None)  # the teacher starts as a copy
    again, _, _ = initial.init_from(str(clip), model, seed=1)
    helpers.assert_same(params, again)
    other, _, _ = initial.init_from(str(clip), model, seed=2)
    different = {path for path in params if not np.array_equal(params[path], other[path])}
    assert different == {path for path in params if path.endswith("projection/kernel")}


def test_our_own_checkpoints_give_everything(converted, model, tmp_path):
    params, ema, ema_steps = initial.init_from(str(converted), model)
    assert ema_steps == 0
    stored, stored_ema, _ = checkpoint.load_student_and_ema(converted)
    helpers.assert_same(params, stored)
    helpers.assert_same(ema, stored | stored_ema)
    convert.main(["to-pytorch", f"--checkpoint={converted}", f"--output={tmp_path / 'out'}"])
    exported, ema, _ = initial.init_from(str(tmp_path / "out"), model)
    helpers.assert_same(exported, stored)
    assert ema is None
    # scenario_clip_0 has the same parameters.
    other, _, _ = initial.init_from(str(converted), model | {"arch": "scenario_clip_0"})
    helpers.assert_same(other, stored)


def test_logit_biases_come_and_go_with_the_loss(clip, converted, model, tmp_path):
    biased = model | {"logit_bias": True}
    for source in (clip, converted):
        params, _, _ = initial.init_from(str(source), biased)
        initial.check_against_model(params, biased)
        assert params["logit_bias/object"] == np.float32(INITIAL_LOGIT_BIAS)
    params |= {f"logit_bias/{level}": np.array(-2.0, np.float32) for level in LEVELS}
    checkpoint.save_model(tmp_path / "biased", ModelSpec(biased, {}), params)
    kept, _, _ = initial.init_from(str(tmp_path / "biased"), biased)
    assert kept["logit_bias/object"] == -2
    dropped, _, _ = initial.init_from(str(tmp_path / "biased"), model)
    initial.check_against_model(dropped, model)


def test_stems_are_rearranged(converted, clip, model):
    wanted = copy.deepcopy(model) | {"share_stem": True}
    wanted["vision"]["stem_blocks"], wanted["text"]["stem_blocks"] = 3, 1
    params, ema, _ = initial.init_from(str(converted), wanted)
    initial.check_against_model(params, wanted)
    assert ema.keys() == params.keys()
    straight, _, _ = initial.init_from(str(clip), wanted, seed=5)
    helpers.assert_same(params, straight)
    # And back, from shared to one a level.
    folder = converted.parent / "shared"
    checkpoint.save_model(folder, ModelSpec(wanted, {}), params)
    back, _, _ = initial.init_from(str(folder), model)
    helpers.assert_same(back, checkpoint.load_params(converted)[0])


def test_every_difference_is_named(clip, converted, model):
    other = copy.deepcopy(model)
    other["vision"]["image_size"], other["text"]["width"] = 64, 48
    with pytest.raises(CheckpointError) as raised:
        initial.init_from(str(clip), other)
    message = str(raised.value)
    assert "model.vision.image_size is 32 in the weights and 64 in the model to be built" in message
    assert "model.text.width is 24 in the weights and 48" in message
    assert "from-huggingface --image-size" in message
    other = model | {"arch": "pyramid_clip", "embed_dim": 8}
    with pytest.raises(CheckpointError) as raised:
        initial.init_from(str(converted), other)
    message = str(raised.value)
    assert "arch is scenario_clip_1 in the weights and pyramid_clip in the model" in message
    assert "model.embed_dim is 24 in the weights and 8" in message


@pytest.mark.parametrize(
    ("key", "saved", "built"), [("object_parts", 2, 1), ("ends_as_objects", True, False)]
)
def test_how_regions_are_read_must_agree(clip, model, tmp_path, key, saved, built):
    model = model | {"arch": "scenario_clip_0", "regions": "pooled", key: saved}
    params, _, _ = initial.init_from(str(clip), model)
    checkpoint.save_model(tmp_path, ModelSpec(model, {}), params)
    again, _, _ = initial.init_from(str(tmp_path), model)
    helpers.assert_same(again, params)
    with pytest.raises(
        CheckpointError, match=rf"model\.{key} is {saved} in the weights and {built} in the model"
    ):
        initial.init_from(str(tmp_path), model | {key: built})


@pytest.fixture(scope="module")
def other_tokenizer(tmp_path_factory):
    """Of the same size and the same end, but with other words."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    return train_tokenizer(["green squirrels jump over nothing"] * 3, path, vocab_size=320)


def test_another_tokenizer_is_refused(clip, converted, model, other_tokenizer, tmp_path):
    own = helpers.tokenizer()
    assert other_tokenizer.eos_id == own.eos_id
    convert.main(["to-pytorch", f"--checkpoint={converted}", f"--output={tmp_path / 'out'}"])
    for source in (clip, converted, tmp_path / "out"):
        initial.init_from(str(source), model, tokenizer=own)
        key = re.escape(to_paste(f"--config.data.tokenizer={source / 'tokenizer.json'}"))
        with pytest.raises(CheckpointError, match=rf"isn't that of the weights .*set {key}"):
            initial.init_from(str(source), model, tokenizer=other_tokenizer)


def test_weights_without_a_tokenizer_are_told(converted, model, tmp_path, capsys):
    source = tmp_path / "source"
    shutil.copytree(converted, source)
    (source / "tokenizer.json").unlink()
    initial.init_from(str(source), model, tokenizer=helpers.tokenizer())
    assert "has no tokenizer.json" in capsys.readouterr().out


def test_how_inputs_were_prepared_is_compared(clip, converted, model, tmp_path, capsys):
    packed = model | {"patch_packing": True}
    for source in (clip, converted):  # not trained yet: a run may do as it likes
        initial.init_from(str(source), packed, fit="contain", lengths=dict.fromkeys(LEVELS, 12))
        assert "set config.data.fit=centre_crop, unless contain is meant" in capsys.readouterr().out
    params, _ = checkpoint.load_params(converted)
    trained = tmp_path / "trained"
    checkpoint.save_model(trained, ModelSpec(packed, dict.fromkeys(LEVELS, 8)), params, step=9)
    initial.init_from(str(trained), packed, fit="centre_crop", lengths={"object": 8})
    assert capsys.readouterr().out == ""
    initial.init_from(str(trained), packed, fit="centre_crop", lengths={"object": 12})
    assert "object 12 (was 8)" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match=r"set config\.model\.patch_packing=True"):
        initial.init_from(str(trained), model, fit="centre_crop")
    with pytest.raises(CheckpointError, match=r"set config\.data\.fit=centre_crop"):
        initial.init_from(str(trained), packed, fit="squash")
    with pytest.raises(CheckpointError, match=r"set config\.data\.region_style=stored"):
        initial.init_from(str(trained), packed, fit="centre_crop", region_style="masks")


def test_paths_of_init_from(model, monkeypatch, tmp_path, clip):
    monkeypatch.setenv("HOME", str(clip.parent))
    initial.check_source(f"~/{clip.name}")
    initial.init_from(f"~/{clip.name}", model)
    for use in (initial.check_source, lambda source: initial.init_from(source, model)):
        with pytest.raises(
            CheckpointError, match="'abfs://bucket/run': addresses of abfs aren't supported"
        ):
            use("abfs://bucket/run")


def test_nothing_usable(tmp_path, model):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match=r"has no model.json"):
        initial.init_from(str(tmp_path), model)
    with pytest.raises(CheckpointError, match="a file; give the folder"):
        initial.init_from(__file__, model)


def test_published_proportions():
    for depth, vision, text in ((12, 6, 10), (24, 12, 20), (6, 3, 5), (1, 0, 1)):
        assert initial.published_stem_blocks(depth, "vision") == vision
        assert initial.published_stem_blocks(depth, "text") == text


def test_the_teacher_starts_with_what_trains_as_published(model):
    from configs.pretrain import get_config
    from scenarioclip_jax import rules

    trainable = [tuple(rule) for rule in get_config("vitb32").trainable]
    for branches in (("global", "object"), ("all",), ("shared",)):
        paths = [f"vision/stem/{b}/{p}" for b in branches for p in ("cls", "pre_norm/bias")]
        paths += [f"text/stem/{b}/stack/blocks/fc1/bias" for b in branches]
        paths += ["text/trunk/object/final_norm/bias", "logit_scale/global"]
        trains = rules.match(trainable, paths, name="freezing")
        assert {p for p in paths if trains[p]} == {
            p for p in paths if not re.fullmatch(initial.FROZEN, p)
        }


def test_clips_own_heads_give_its_cosines_at_every_level(clip):
    arguments = initial.arguments_from_clip(
        open_plain_clip(str(clip)), arch="pyramid_clip", head="clip"
    )
    params, _, _ = initial.init_from(str(clip), arguments, head="clip")
    spec = initial.spec_of(str(clip), arch="pyramid_clip")
    assert spec.model == arguments
    ours, theirs = Model(spec, params, helpers.tokenizer()), load(clip)
    pictures = helpers.pictures(3)
    for level in LEVELS:
        found = [
            model.similarity(
                model.encode_image(pictures, level), model.encode_text(helpers.TEXTS, level)
            )
            for model in (ours, theirs)
        ]
        np.testing.assert_allclose(*found, atol=1e-6)


def test_clips_own_heads_need_room(clip, model):
    with pytest.raises(CheckpointError, match=r"model\.embed_dim is 32 in the weights and 24"):
        initial.init_from(str(clip), model, head="clip")
