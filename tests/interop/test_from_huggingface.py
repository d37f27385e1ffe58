"""`from-huggingface`: every kind of CLIP folder in, the right arrays out."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from scenarioclip_jax import checkpoint, convert, load
from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.interop import huggingface, initial
from scenarioclip_jax.interop.plain_clip import open_plain_clip
from scenarioclip_jax.interop.positions import interpolate_positions
from tests.interop import helpers


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return helpers.write_clip(tmp_path_factory.mktemp("clip") / "model")


def convert_clip(source, output, *flags):
    convert.main(["from-huggingface", f"--model={source}", f"--output={output}", *flags])
    return checkpoint.ModelSpec.read(output), *checkpoint.load_student_and_ema(output)[:2]


def params_of(source, **kwargs):
    opened = open_plain_clip(str(source))
    return initial.from_clip(opened, initial.arguments_from_clip(opened, arch="clip", **kwargs))


def test_every_level_and_the_teacher_start_from_clip(clip, tmp_path):
    spec, params, ema = convert_clip(clip, tmp_path / "out")
    arrays = load_file(clip / "model.safetensors")
    assert spec.model["arch"] == "scenario_clip_1"
    assert spec.model["vision"] == helpers.VISION | dict(
        stem_blocks=2, activation="quick_gelu", eps=1e-5
    )
    assert spec.model["text"]["stem_blocks"] == 2  # 10 of 12, of 3
    assert spec.model["embed_dim"] == helpers.PROJECTION
    assert spec.lengths == dict.fromkeys(("global", "object", "relation"), 20)
    for level in ("global", "object", "relation"):
        token = params[f"text/stem/{level}/token"]
        np.testing.assert_array_equal(token, arrays["text_model.embeddings.token_embedding.weight"])
        fc1 = params[f"vision/trunk/{level}/stack/blocks/fc1/kernel"]
        name = "vision_model.encoder.layers.2.mlp.fc1.weight"
        np.testing.assert_array_equal(fc1[0].T, arrays[name])
        np.testing.assert_allclose(params[f"logit_scale/{level}"], np.log(1 / 0.07), rtol=1e-6)
    heads = [params[f"vision/head/{level}/projection/kernel"] for level in ("global", "object")]
    assert not np.array_equal(*heads)  # new heads differ
    trained = {p for p in params if "/stem/" not in p or "/pre_norm/" in p}
    assert ema.keys() == trained
    helpers.assert_same(ema, {path: params[path] for path in trained})
    texts = load(tmp_path / "out").tokenizer.encode(helpers.TEXTS, 20)[0]
    np.testing.assert_array_equal(texts, helpers.tokenizer().encode(helpers.TEXTS, 20)[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch",
    [
        "clip",
        pytest.param("pyramid_clip", marks=pytest.mark.slow),
        pytest.param("scenario_clip_0", marks=pytest.mark.slow),
        "scenario_clip_2",
        "scenario_clip_shared",
    ],
)
def test_other_architectures(clip, tmp_path, arch):
    flags = [f"--arch={arch}", "--share-stem", "--vision-stem-blocks=0", "--text-stem-blocks=3"]
    spec, params, ema = convert_clip(clip, tmp_path / "out", *flags, "--embed-dim=40")
    assert ema is None
    assert (spec.model["vision"]["stem_blocks"], spec.model["text"]["stem_blocks"]) == (0, 3)
    assert spec.model["share_stem"]
    assert {p.split("/")[2] for p in params if "/stem/" in p} == {"shared"}
    one_tower = arch in ("pyramid_clip", "scenario_clip_2")
    assert params[f"text/head/{'all' if one_tower else 'global'}/norm/bias"].shape == (40,)
    assert load(tmp_path / "out").encode_text("ok", "object").shape == (1, 40)


@pytest.mark.parametrize("arch", ["scenario_clip_0", "scenario_clip_shared"])
def test_one_vision_tower_where_regions_are_pooled(clip, arch):
    """`from_clip` compares with the model that it is for; what CLIP doesn't have starts at random."""
    opened = open_plain_clip(str(clip))
    model = initial.arguments_from_clip(opened, arch=arch) | {"regions": "pooled"}
    params = initial.from_clip(opened, model)
    towers = {path.split("/")[2] for path in params if path.startswith("vision/trunk/")}
    assert len(towers) == 1
    heads = {path.split("/")[2] for path in params if path.startswith("vision/head/")}
    assert heads == {"global", "object", "relation"}
    assert np.std(params["regions/pool/object/value/kernel"]) > 0
    again = initial.from_clip(opened, model)
    helpers.assert_same(again, params)
    # Stems can be shared and separated again.
    shared = model | {"share_stem": True}
    back = initial._arrange(params, model, shared, "here")
    assert "vision/stem/shared/cls" in back
    helpers.assert_same(initial._arrange(back, shared, model, "here"), params)


@pytest.mark.parametrize("arch", ["scenario_clip_0", "scenario_clip_shared"])
def test_only_what_tells_a_level_fixes_the_stems_end(clip, arch):
    opened = open_plain_clip(str(clip))
    model = initial.arguments_from_clip(opened, arch=arch) | {"regions": "pooled"}
    params = initial.from_clip(opened, model)
    shorter = model | {"text": {**model["text"], "stem_blocks": 1}}
    if arch == "scenario_clip_shared":
        with pytest.raises(CheckpointError, match=r"told its level behind the stem.*stem_blocks"):
            initial._arrange(params, model, shorter, "here")
        return
    there = initial._arrange(params, model, shorter, "here")
    helpers.assert_same(initial._arrange(there, shorter, model, "here"), params)


def test_both_key_layouts_shards_and_buffers(clip, tmp_path):
    arrays = load_file(clip / "model.safetensors")
    wanted = params_of(clip)

    # Doubled prefixes, and the position_ids that old versions saved.
    doubled = {
        name.replace("vision_model.", "vision_model.vision_model."): v for name, v in arrays.items()
    }
    doubled["text_model.embeddings.position_ids"] = np.arange(20)[None]
    helpers.assert_same(params_of(helpers.write_clip(tmp_path / "doubled", doubled)), wanted)

    # One folder a tower, without prefixes (Transformers 5) and with (Transformers 4).
    for strip in (True, False):
        folder = tmp_path / f"towers{strip}"
        for tower in ("vision", "text"):
            prefix = f"{tower}_model."
            part = {
                name.removeprefix(prefix) if strip else name: value
                for name, value in arrays.items()
                if name.startswith(prefix)
            }
            helpers.write_clip(
                folder / tower, part, helpers.clip_config()[f"{tower}_config"], with_tokenizer=False
            )
        helpers.tokenizer().save(folder)
        helpers.assert_same(params_of(folder, embed_dim=helpers.PROJECTION), wanted)

    # Shards with an index.
    folder = helpers.write_clip(tmp_path / "shards")
    (folder / "model.safetensors").unlink()
    names = sorted(arrays)
    where = {}
    for index in range(3):
        file = f"model-0000{index + 1}-of-00003.safetensors"
        save_file({name: arrays[name] for name in names[index::3]}, folder / file)
        where |= dict.fromkeys(names[index::3], file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    helpers.assert_same(params_of(folder), wanted)
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=r"names the file 'model-00003-of-00003.safetensors'"):
        params_of(folder)


def test_pytorch_files_and_half_precision(clip, tmp_path):
    torch = pytest.importorskip("torch")
    arrays = load_file(clip / "model.safetensors")
    folder = helpers.write_clip(tmp_path / "bin")
    (folder / "model.safetensors").unlink()
    torch.save(
        {k: torch.from_numpy(v).to(torch.bfloat16) for k, v in arrays.items()},
        folder / "pytorch_model.bin",
    )
    wanted = params_of(clip)["vision/stem/global/patch"]
    found = params_of(folder)["vision/stem/global/patch"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1 / 128)
    # The same from safetensors in bfloat16, bit for bit.
    half = {k: v.astype(ml_dtypes.bfloat16) for k, v in arrays.items()}
    helpers.assert_same(params_of(helpers.write_clip(tmp_path / "half", half)), params_of(folder))


def test_sizes_come_from_config_json(tmp_path):
    vision = dict(width=48, depth=5, heads=6, mlp_dim=96, image_size=42, patch_size=14)
    text = dict(width=40, depth=4, heads=5, mlp_dim=80, vocab_size=400, max_length=12)
    config = helpers.clip_config(vision, text, 20)
    config["vision_config"] |= {"hidden_act": "gelu", "layer_norm_eps": 1e-6}
    folder = helpers.write_clip(tmp_path / "m", helpers.clip_arrays(vision, text, 20), config)
    spec, _, _ = convert_clip(folder, tmp_path / "out")
    assert spec.model["vision"] == vision | dict(stem_blocks=2, activation="gelu", eps=1e-6)
    assert spec.model["text"] == text | dict(
        stem_blocks=3, activation="quick_gelu", eps=1e-5, eos_id=helpers.tokenizer().eos_id
    )


def test_legacy_end_of_text_id(tmp_path):
    """eos_token_id 2 in a config means: pool at the highest id."""
    tokenizer = helpers.tokenizer()
    last = {"vocab_size": tokenizer.vocab_size, "eos_id": 2}
    huggingface._settle_eos(last, None, tmp_path)
    assert last["eos_id"] == tokenizer.vocab_size - 1
    # Our small tokenizer's end of text isn't its last id: Transformers would pool elsewhere.
    folder = helpers.write_clip(tmp_path / "m", config=helpers.clip_config(eos_id=2))
    assert tokenizer.eos_id != tokenizer.vocab_size - 1
    with pytest.raises(CheckpointError, match=r"eos_token_id is 2 .*pool at the highest id"):
        open_plain_clip(str(folder))
    # CLIP's own vocabulary ends with <|endoftext|>.
    values = json.loads((folder / "tokenizer.json").read_text())
    vocab = values["model"]["vocab"]
    end = "<|endoftext|>"
    other = next(token for token, i in vocab.items() if i == len(vocab) - 1)
    vocab[end], vocab[other] = vocab[other], vocab[end]
    for token in values["added_tokens"]:
        token["id"] = vocab[token["content"]]
    (folder / "tokenizer.json").write_text(json.dumps(values))
    opened = open_plain_clip(str(folder))
    assert opened.text["eos_id"] == len(vocab) - 1
    assert opened.tokenizer.eos_id == len(vocab) - 1


def test_image_size_is_interpolated_on_request(clip, tmp_path):
    spec, params, _ = convert_clip(clip, tmp_path / "out", "--image-size=56", "--arch=clip")
    assert spec.model["vision"]["image_size"] == 56
    position = params["vision/stem/global/position"]
    assert position.shape == (50, 32)
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.CLIPVisionModel.from_pretrained(clip).eval()
    pixels = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 56, 56), np.float32))
    with torch.no_grad():
        theirs = model(pixels, interpolate_pos_encoding=True).pooler_output.numpy()
    fixed = transformers.CLIPVisionConfig(**model.config.to_dict() | {"image_size": 56})
    other = transformers.CLIPVisionModel(fixed).eval()
    state = model.state_dict()
    name = next(k for k in state if k.endswith("position_embedding.weight"))
    other.load_state_dict(state | {name: torch.from_numpy(position)})
    with torch.no_grad():
        np.testing.assert_allclose(other(pixels).pooler_output.numpy(), theirs, atol=1e-5)


@pytest.mark.parametrize(
    "flag",
    ["--embed-dim=-3", "--embed-dim=0", "--image-size=0", "--vision-stem-blocks=-1", "--seed=x"],
)
def test_numbers_out_of_range(clip, tmp_path, flag, capsys):
    with pytest.raises(SystemExit) as raised:
        convert_clip(clip, tmp_path / "out", flag)
    assert raised.value.code == 2
    assert f"{flag.split('=')[0]}: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_interpolation_keeps_what_needs_no_change():
    positions = np.random.default_rng(0).standard_normal((17, 5)).astype(np.float32)
    assert interpolate_positions(positions, 4) is positions
    flat = np.ones((17, 5), np.float32)
    np.testing.assert_allclose(interpolate_positions(flat, 7), np.ones((50, 5)), rtol=1e-6)


def test_towers_are_clips_and_its_own_head_gives_its_cosines(clip):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPModel.from_pretrained(clip).eval()
    ours = load(clip)  # a plain CLIP model: the baseline
    assert ours.spec.model["arch"] == "clip"
    pixels = np.random.default_rng(0).standard_normal((3, 3, 32, 32), np.float32)
    ids = ours.tokenizer.encode(helpers.TEXTS, 20)[0]
    with torch.no_grad():
        out = theirs(pixel_values=torch.from_numpy(pixels), input_ids=torch.from_numpy(ids).long())
        cosines = (out.logits_per_image / theirs.logit_scale.exp()).numpy()
    for level in ("global", "relation"):
        found = ours.similarity(ours.encode_pixels(pixels, level), ours.encode_ids(ids, level))
        np.testing.assert_allclose(found, cosines, atol=1e-5)
    assert ours.logit_scale() == pytest.approx(np.exp(3.5), rel=1e-6)
    assert np.ptp(cosines) > 0.1  # not all alike, so the comparison means something


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, r"config.json: model_type is 'bert'"),
        (
            {"vision_config.hidden_act": "relu"},
            r"hidden_act of the vision tower is 'relu', must be one",
        ),
        ({"vision_config.num_channels": 1}, r"num_channels of the vision tower is 1"),
        ({"vision_config.hidden_size": 64}, r"of another shape .*\n.*vision.* expected \(64,"),
        ({"text_config.num_hidden_layers": 4}, r"missing \(16\):\n    text.encoder.layers.3"),
        ({"text_config.num_hidden_layers": 2}, r"unexpected \(16\):\n    text.encoder.layers.2"),
        ({"text_config.num_attention_heads": 7}, r"multiple of"),
        ({"text_config.vocab_size": 100}, r"vocab_size is 100, but the tokenizer beside it has"),
        ({"text_config.eos_token_id": 77}, r"eos_token_id is 77, but the tokenizer beside it ends"),
    ],
)
def test_config_that_does_not_fit(clip, tmp_path, change, message):
    config = json.loads((clip / "config.json").read_text())
    for key, value in change.items():
        *parents, last = key.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        node[last] = value
    folder = helpers.write_clip(tmp_path / "m", config=config)
    with pytest.raises(CheckpointError, match=message):
        open_plain_clip(str(folder))


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_image_settings_must_be_clips(clip, tmp_path, name):
    folder = helpers.write_clip(tmp_path / "m")
    good = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "do_normalize": True, "resample": 3}
    good |= {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}

    def write(settings):
        wrapped = {"image_processor": settings} if name.startswith("processor") else settings
        (folder / name).write_text(json.dumps(wrapped))

    write(good)
    open_plain_clip(str(folder))
    for key, value in {"resample": 1, "rescale_factor": 1, "crop_size": 64}.items():
        write(good | {key: value})
        with pytest.raises(
            CheckpointError, match=rf"{name}: {key} is .*, but pictures are prepared"
        ):
            open_plain_clip(str(folder))
