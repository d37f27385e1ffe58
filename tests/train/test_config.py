"""A bad config is refused before anything slow starts, by a message that names the key."""

import functools
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from scenarioclip_jax.command import ConfigError, explain_flags
from scenarioclip_jax.evaluation.job import _open_cache
from scenarioclip_jax.rules import match
from scenarioclip_jax.train import loop
from scenarioclip_jax.train.config import (
    check,
    chooses_blindly,
    compilation_cache,
    data_settings,
    plain,
    resolve,
    view_settings,
)
from scenarioclip_jax.train.setup import loss_dtype, model_spec
from tests.train import tiny


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": "siglip"}, r"config\.arch='siglip'.*clip, pyramid_clip"),
        ({"model__remat": "some"}, r"config\.model\.remat='some'.*none, dots, full"),
        ({"model__dtype": "float16"}, r"config\.model\.dtype='float16'.*bfloat16"),
        ({"model__vision__heads": 3}, r"config\.model\.vision: width 16 .* heads 3"),
        ({"model__vision__image_size": 40}, r"config\.model\.vision: image_size 40.*patch_size 16"),
        ({"model__text__stem_blocks": 9}, r"config\.model\.text: stem_blocks 9"),
        (
            {"data__packing_groups": 3},
            r"data\.packing_groups=3 does not divide data\.batch_size=16",
        ),
        ({"data__fit": "stretch"}, r"data\.fit='stretch'.*centre_crop"),
        (
            {"data__levels__object__text_length": 99},
            r"config\.data\.levels\.object\.text_length=99: must be at most 24",
        ),
        ({"loss__distill__scaling": "half"}, r"config\.loss\.distill\.scaling='half'.*published"),
        ({"loss__distill__temperature": 0.0}, r"config\.loss\.distill\.temperature=0\.0"),
        (
            {"arch": "scenario_clip_1", "ema__decay": 0.0},
            r"config\.ema\.decay=0 leaves scenario_clip_1 without a teacher",
        ),
        ({"ema__decay": 1.0}, r"config\.ema\.decay=1\.0: must be at least 0 and below 1"),
        ({"checkpoint__every": 0}, r"config\.checkpoint\.every=0: must be more than 0"),
        ({"steps": -1}, r"config\.steps=-1"),
        (
            {"validation__suites": ("zero_shot,aro",)},
            r"config\.validation\.suites=.*among zero_shot, retrieval, hard_negatives",
        ),
        ({"validation__suites": ("retrieval",)}, r"config\.validation\.suites=.*have zero_shot"),
        (
            {"views__crop_area": (1.0, 0.8)},
            r"config\.views\.crop_area=\(1\.0, 0\.8\): must be \(low",
        ),
        ({"views__crop_area": (0.0, 0.0)}, r"config\.views\.crop_area=.*0 < low"),
        ({"views__crop_area": (0.5,)}, r"config\.views\.crop_area=.*2 numbers"),
        ({"views__jitter_probability": 7.0}, r"config\.views\.jitter_probability=7\.0.*0 and 1"),
        (
            {"views__jitter__object": (0.1, 0.1, 0.1, 0.6)},
            r"config\.views\.jitter\.object=.*hue of 0 to",
        ),
        (
            {"arch": "clip", "model__patch_packing": True},
            r"config\.model\.patch_packing=True: .*False with arch clip",
        ),
        (
            {"model__patch_packing": True, "data__patch_row_views": 3},
            r"config\.data\.patch_row_views=3: must be a divisor of \d",
        ),
        (
            {"data__text_row_tokens": 8},
            r"config\.data\.text_row_tokens=8: must be 0, or at least \d",
        ),
        ({"data__dir": "/nowhere"}, r"config\.data\.dir='/nowhere': no such folder; build shards"),
    ],
)
def test_bad_values(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        check(tiny.config(tmp_path, **changes), batch_ways=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"trainable": (("vision/.*", True),)},
            r"config\.trainable: .*no rule matches logit_scale/",
        ),
        ({"trainable": ((".*", False),)}, r"config\.trainable: every parameter is frozen"),
        ({"optimizer__weight_decay": ((".*kernel", 0.1),)}, r"config\.optimizer: .*weight decay"),
        (
            {"optimizer__learning_rate_scale": ("(", 1.0)},
            r"config\.optimizer: .*not \(regex, value\) pairs",
        ),
        ({"init_from": "./nowhere/at/all"}, r"config\.init_from: .*nowhere/at/all"),
        ({"init_from": str(Path(__file__).parent)}, r"config\.init_from: .*no config\.json"),
    ],
)
def test_parameters_are_checked_before_the_data_is_built(changes, message, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "open_data", lambda *_: pytest.fail("the data was opened"))
    with pytest.raises(ConfigError, match=message):
        loop.train(tiny.config(tmp_path, **changes), tmp_path)


def test_groups_must_be_shared_out_over_the_mesh(tmp_path):
    check(tiny.config(tmp_path), batch_ways=8)
    with pytest.raises(
        ConfigError, match=r"config\.data\.packing_groups=8: must be a multiple of 3"
    ):
        check(tiny.config(tmp_path), batch_ways=3)


def test_the_published_presets_ask_for_data():
    for preset in ("vitb32", "vitb16", "vitl14", "vitb32_fast", "siglipb16", "vitb32_recipe"):
        config = runpy.run_path(str(tiny.CONFIG))["get_config"](preset)
        with pytest.raises(ConfigError, match=r"config\.data\.dir is empty"):
            check(config, batch_ways=1)


@pytest.mark.parametrize("towers", ["vitb32", "vitb16", "vitl14"])
def test_fast_presets_change_how_a_model_is_computed_and_not_which(towers):
    get_config = runpy.run_path(str(tiny.CONFIG))["get_config"]
    published, fast = get_config(towers), get_config(f"{towers}_fast")
    how = ("share_stem", "patch_packing", "dtype", "remat")
    for key, value in published.model.items():
        assert (fast.model[key] == value) == (key not in how or value == "dots"), key
    for section in ("optimizer", "loss", "ema", "views"):
        assert fast[section] == published[section]
    assert fast.model.dtype == "bfloat16"
    fast.data.dir = published.data.dir = "somewhere"
    check(fast, batch_ways=8, reads_data=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.text_row_tokens": 64}, r"text_row_tokens=64: must be 0 with .*pooling=last"),
        (
            {"data.levels.object.text_length": 32},
            r"object\.text_length=32: must be 64, the last",
        ),
        ({"model.patch_packing": True}, r"patch_packing is True, but a vision tower that pools"),
        (
            {"model.vision.pooling": "mean"},
            r"pooling 'mean' is not one of class_token, attention",
        ),
    ],
)
def test_siglip_reads_whole_texts_and_views(changes, message):
    config = runpy.run_path(str(tiny.CONFIG))["get_config"]("siglipb16")
    check(config, batch_ways=8, reads_data=False)
    tiny.with_values(config, changes)
    with pytest.raises(ConfigError, match=message):
        check(config, batch_ways=8, reads_data=False)


@pytest.mark.parametrize("preset", ["recipe", "vitb32_recipe"])
def test_recipes_can_be_trained(preset):
    config = runpy.run_path(str(tiny.CONFIG))["get_config"](preset)
    check(config, batch_ways=8, reads_data=preset == "recipe")
    assert (config.arch, config.model.regions) == ("scenario_clip_0", "pooled")
    assert config.loss.terms.negatives > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"loss__terms__negatives": 1.0},
            r"negatives=1\.0 needs .* config\.data\.levels\.relation\.further",
        ),
        (
            {"loss__terms__captions": 0.5},
            r"captions=0\.5 needs .* config\.data\.levels\.scene\.further",
        ),
        ({"loss__terms__texts": -1.0}, r"config\.loss\.terms\.texts=-1\.0: must be 0 or more"),
        (
            {"loss__terms__parts": 1.0, "arch": "clip"},
            r"terms\.parts=1\.0: must be 0 with arch clip",
        ),
        ({"model__object_parts": 2}, r"config\.model\.object_parts=2: must be 1 unless"),
        (
            {"model__ends_as_objects": True},
            r"config\.model\.ends_as_objects=True: must be False unless",
        ),
        (
            {"model__regions": "pooled", "model__object_parts": 0},
            r"config\.model\.object_parts=0: must be 1 or more",
        ),
        (
            {"loss__level_weights__object": -1.0},
            r"config\.loss\.level_weights\.object=-1\.0: must be 0 or more",
        ),
        ({"model__regions": "boxes"}, r"config\.model\.regions='boxes': .*views, pooled"),
        (
            {"model__regions": "pooled", "model__patch_packing": True},
            r"config\.model\.patch_packing=True: must be False with config\.model\.regions=pooled",
        ),
        ({"data__make_negatives": -1}, r"data\.make_negatives=-1: must be at least 0"),
    ],
)
def test_a_recipe_that_makes_no_sense(changes, message, tmp_path):
    check(tiny.config(tmp_path, loss__terms__parts=1.0), batch_ways=8)
    with pytest.raises(ConfigError, match=message):
        check(tiny.config(tmp_path, **changes), batch_ways=8)


def test_loss_products_follow_the_towers_on_accelerators_only():
    def platform(name):
        device = SimpleNamespace(platform=name)
        return SimpleNamespace(devices=np.array([device]))

    config = tiny.config("unused", model__dtype="bfloat16")
    assert loss_dtype(config, platform("cpu")) == "float32"
    assert loss_dtype(config, platform("gpu")) == loss_dtype(config, platform("tpu")) == "bfloat16"
    config.model.dtype = "float32"  # the published numerics stay as they are
    assert loss_dtype(config, platform("tpu")) == "float32"
    config.loss.products = "bfloat16"
    assert loss_dtype(config, platform("cpu")) == "bfloat16"


def test_unknown_keys_are_named_with_what_there_is():
    flag = f"--config={tiny.CONFIG}"
    message = explain_flags([flag, "--config.data.batchsize=3"])
    assert message.startswith("config.data.batchsize: no such key (did you mean batch_size?)")
    assert "canvas_size" in message
    assert explain_flags([flag, "--config.data.batch_size=3"]) is None
    assert explain_flags(["--config", str(tiny.CONFIG), "--config.data.batch_size=3"]) is None
    assert explain_flags(["--config", str(tiny.CONFIG), "--config.a=3"]).startswith("config.a: no")
    assert explain_flags([]).startswith("--config is missing")
    message = explain_flags([flag + ":vitb32", "--config.steps.x=3"])
    assert message.startswith("config.steps.x: no such key")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.steps=abc"], "config.steps: 'abc' is not a whole number"),
        (["--config.steps", "abc"], "config.steps: 'abc' is not a whole number"),
        (["--config.data.batch_size=3.5"], "config.data.batch_size: '3.5' is not a whole number"),
        (["--config.optimizer.learning_rate=1e-4x"], "learning_rate: '1e-4x' is not a number"),
        (["--config.model.share_stem=maybe"], "config.model.share_stem: 'maybe' is not true or"),
        (["--config.validation.suites=zero_shot retrieval"], "is not values separated by commas"),
    ],
)
def test_values_of_another_type_are_refused_with_the_key(arguments, message):
    assert message in explain_flags([f"--config={tiny.CONFIG}", *arguments])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config.steps=300", "--config.data.fit=contain", "--config.init_from=a b"],
        ["--config.steps", "300", "--config.optimizer.learning_rate=1"],
        ["--config.model.share_stem", "--noconfig.model.share_stem"],
        ["--config.model.share_stem=True", "--config.validation.suites=zero_shot,retrieval"],
        ["--config.validation.suites=zero_shot, retrieval", "--config.trainable=(('.*', True),)"],
        ["--config.validation.suites=zero_shot", "--config.data.dir=/a/b c,d"],
    ],
)
def test_values_that_are_right_are_left_alone(arguments):
    assert explain_flags([f"--config={tiny.CONFIG}", *arguments]) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.stepz=3"], "config.stepz: no such key (did you mean steps?)"),
        (["--config.steps=many"], "error: config.steps: 'many' is not a whole number"),
        (["--config.arch=siglip"], "config.arch='siglip': must be one of clip"),
        (["--config.mesh.data=3", "--config.mesh.tensor=7"], "config.mesh: data=3"),
        (["steps=3"], "'steps=3' is no flag"),
    ],
)
def test_the_command_line_refuses_without_a_stack_trace(arguments, message, tmp_path):
    command = [sys.executable, "-m", "scenarioclip_jax.main", f"--config={tiny.CONFIG}"]
    command += [f"--workdir={tmp_path / 'run'}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "key", ["trainable", "optimizer.weight_decay", "optimizer.learning_rate_scale"]
)
def test_rules_are_given_on_the_command_line(key, monkeypatch):
    value = r"((r'.*/(kernel|\d+)', 1.5), ('.*', 0.0))"
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", None, flag_values=values)
    arguments = ["main", f"--config={tiny.CONFIG}:vitb32", f"--config.{key}={value}"]
    monkeypatch.setattr(sys, "argv", arguments)  # where the config's flag looks for overrides
    values(arguments)
    rules = functools.reduce(lambda node, name: node[name], key.split("."), holder.value)
    assert match(rules, ["a/12", "a/bias"], name=key) == {"a/12": 1.5, "a/bias": 0.0}


@pytest.mark.parametrize(
    ("validation", "checkpoint", "steps", "blind"),
    [(3, 3, 6, False), (300, 1000, 5000, False), (300, 1000, 3000, True), (100, 1000, 900, False)],
)
def test_keep_best_without_a_choice_is_noticed(validation, checkpoint, steps, blind, tmp_path):
    changes = {"validation__every": validation, "checkpoint__every": checkpoint}
    assert chooses_blindly(tiny.config(tmp_path, **changes), steps) == blind
    assert not chooses_blindly(tiny.config(tmp_path, checkpoint__keep_best=0, **changes), steps)


def test_a_config_becomes_plain_json_values(tmp_path):
    assert plain(tiny.config(tmp_path))["views"]["crop_area"] == [0.8, 1.0]


def test_the_data_sets_folder_is_kept_by_its_whole_path(tmp_path, monkeypatch):
    """An evaluation may be started in another folder, where a relative path names other data."""
    monkeypatch.chdir(tmp_path)
    assert resolve(tiny.config("shards")).data.dir == str(tmp_path / "shards")
    assert resolve(tiny.config("")).data.dir == ""


def test_a_resolved_config_does_not_change():
    config = tiny.config("", model__text__eos_id=-1)
    resolved = resolve(config, eos_id=7)
    assert (resolved.model.text.eos_id, config.model.text.eos_id) == (7, -1)
    with pytest.raises(AttributeError, match="immutable"):
        resolved.steps = 3
    with pytest.raises(ConfigError, match=r"eos_id=7: the tokenizer ends texts with 8"):
        resolve(tiny.config("", model__text__eos_id=7), eos_id=8)


def test_the_style_of_focused_regions_reaches_host_device_and_checkpoint():
    config = tiny.config("", data__region_style="published")
    assert data_settings(config, focus_images=True).region_style == "published"
    assert not data_settings(config, focus_images=True).focus_images  # nothing shows them
    assert view_settings(config).region_style == model_spec(config).region_style == "published"


def test_caches_that_are_addresses_are_refused(tmp_path):
    for place in ("s3://bucket/x", "hdfs://x"):
        with pytest.raises(ConfigError, match=r"config\.compilation_cache: '\w+://"):
            compilation_cache(tiny.config(tmp_path, compilation_cache=place))
        with pytest.raises(ConfigError, match=r"config\.cache: '\w+://"):
            _open_cache(place)


def test_without_a_folder_for_compiled_programs_a_run_goes_on(tmp_path, monkeypatch, capsys):
    (tmp_path / "home").write_text("")  # no folder can be made below it
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    compilation_cache(tiny.config(tmp_path, compilation_cache="~/.cache/programs"))
    said = capsys.readouterr().err
    assert "compiled programs aren't kept" in said
    assert "config.compilation_cache" in said


def test_a_level_that_is_a_keyword_has_another_name_in_flags():
    flags = ["--config=configs/evaluate.py", "--config.levels=object,global"]
    assert "write scene for the level global" in explain_flags(flags)
    flags[1] = "--config.levels=object,scene"
    assert explain_flags(flags) is None
