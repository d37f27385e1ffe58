"""SigLIP and SigLIP 2 give what Transformers gives, or are refused by the field that doesn't fit."""

import json
import runpy
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from scenarioclip_jax import convert, load
from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.data.normalization import CLIP_MEAN, CLIP_STD
from scenarioclip_jax.data.stored.labels import labels_of
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.interop import clip_towers, initial
from scenarioclip_jax.interop.clip_model import tower_configs
from scenarioclip_jax.interop.plain_clip import open_plain_clip
from scenarioclip_jax.models.scenario_clip import Inputs, ScenarioCLIP
from tests.interop import siglip_files

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return siglip_files.write(tmp_path_factory.mktemp("siglip") / "model")


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    return siglip_files.write(tmp_path_factory.mktemp("siglip2") / "model", second=True)


def unit(embeddings):
    return embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)


def their_embeddings(folder, pixels, ids):
    model = transformers.SiglipModel.from_pretrained(folder).eval()
    with torch.no_grad():
        images = torch.tensor(((pixels - 0.5) / 0.5).transpose(0, 3, 1, 2))
        found = [
            model.get_image_features(images),
            model.get_text_features(torch.tensor(ids).long()),
        ]
    return [np.asarray(getattr(each, "pooler_output", each)) for each in found]


def ours(pixels):
    return (pixels - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)


@pytest.mark.parametrize("name", ["folder", "second"])
def test_cosines_are_those_of_transformers(name, request):
    source = request.getfixturevalue(name)
    model = load(source)
    pixels = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    pixels[1, :16] = 0
    texts = siglip_files.TEXTS[:5]
    image, text = their_embeddings(source, pixels, model.tokenizer.encode(labels_of(texts), 12)[0])
    found = unit(model.encode_pixels(ours(pixels))), unit(model.encode_text(texts))
    for a, b in ((found[0], unit(image)), (found[1], unit(text))):
        np.testing.assert_allclose(a @ a.T, b @ b.T, atol=2e-6)
    np.testing.assert_allclose(found[0] @ found[1].T, unit(image) @ unit(text).T, atol=2e-6)
    assert model.spec.fit == "squash"
    assert model.logit_bias() == -16.5
    assert model.logit_scale() == 100  # e^4.7 is 110


def test_texts_are_cut_into_tokens_as_by_transformers(folder, tmp_path):
    """Padding too, which SigLIP's text tower sees."""
    figures = json.loads((siglip_files.GOLDEN / "ids.json").read_text())
    tokenizer = Tokenizer.load(folder)
    np.testing.assert_array_equal(tokenizer.encode(siglip_files.TEXTS, 12)[0], figures["ids"])
    tokenizer.save(tmp_path / "tokenizer.json")  # what a run keeps
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    np.testing.assert_array_equal(again.encode(siglip_files.TEXTS, 12)[0], figures["ids"])
    assert (again.bos_id, again.eos_id, again.pad_id) == (None, 1, 1)


def test_the_second_lowers_the_case_and_pads_with_its_own_token(second, tmp_path):
    tokenizer = Tokenizer.load(second)
    raw = json.loads((second / "tokenizer.json").read_text())["model"]["vocab"]
    assert "</s>" in raw  # Gemma has tokens of HTML, which end nothing
    wanted = [*(raw[each] for each in "ab,▁c"), raw["<eos>"], raw["<pad>"], raw["<pad>"]]
    tokenizer.save(tmp_path / "tokenizer.json")
    for each in (tokenizer, Tokenizer.load(tmp_path / "tokenizer.json")):
        assert each.encode(["Ab, C"], 8)[0].tolist() == [wanted]
        assert each.bos_id is None


def test_ids_are_padded_as_in_training(folder):
    """Padding that is left out is that of the tokenizer: the last of all positions is read."""
    model = load(folder)
    ids = model.tokenizer.encode(["two people"], 12)[0]
    short = ids[:, : np.argmax(ids[0] == model.tokenizer.eos_id) + 1]
    np.testing.assert_array_equal(model.encode_ids(short), model.encode_ids(ids))


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["scenario_clip_1", "pyramid_clip", "scenario_clip_shared"])
def test_it_can_start_a_run_at_three_levels(folder, tmp_path, arch):
    out = tmp_path / "out"
    convert.main(
        [
            "from-huggingface",
            f"--model={folder}",
            f"--output={out}",
            "--head=clip",
            f"--arch={arch}",
        ]
    )
    started, plain = load(out), load(folder)
    pixels = ours(np.random.default_rng(0).random((2, 32, 32, 3), np.float32))
    for level in ("global", "object", "relation"):
        if arch == "scenario_clip_shared" and level != "global":
            continue  # told its level by a vector that starts at random
        text = unit(started.encode_text(siglip_files.TEXTS[:3], level))
        image = unit(started.encode_pixels(pixels, level))
        if arch != "scenario_clip_shared":
            wanted = (
                unit(plain.encode_text(siglip_files.TEXTS[:3])),
                unit(plain.encode_pixels(pixels)),
            )
            np.testing.assert_allclose(text, wanted[0], atol=1e-5)
            np.testing.assert_allclose(image, wanted[1], atol=1e-5)


@pytest.mark.slow
def test_pooled_regions_see_all_tokens(folder):
    """A box over everything pools a whole photo's tokens, of which none is a class token."""
    clip = open_plain_clip(str(folder))
    arguments = initial.arguments_from_clip(clip, arch="scenario_clip_0", head="clip")
    arguments["regions"] = "pooled"
    params = initial.from_clip(clip, arguments, head="clip")
    assert any(path.startswith("regions/") for path in params)
    model = ScenarioCLIP(**arguments, rngs=nnx.Rngs(0))
    box = np.array([[[[0, 0, 1, 1]]]], np.float32)
    found = model.encode_boxes(np.zeros((1, 32, 32, 3), np.float32), box, "object")
    assert found.shape == (1, 1, arguments["embed_dim"])


def test_names_and_layouts_come_back(folder):
    clip = open_plain_clip(str(folder))
    config = tower_configs(clip.vision, clip.text, (1, 1))[0]
    theirs = {
        name.removeprefix("vision."): clip.weights[name]
        for name in clip.weights
        if name.startswith("vision.")
    }
    again = clip_towers.to_theirs(clip_towers.to_ours(theirs, config), config)
    assert again.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(again[name], value)


def test_another_image_size(folder, tmp_path):
    """Positions are interpolated though none of them is a class token's."""
    out = tmp_path / "out"
    convert.main(["from-huggingface", f"--model={folder}", f"--output={out}", "--image-size=64"])
    assert load(out).encode_pixels(np.zeros((1, 64, 64, 3), np.float32)).shape[0] == 1


@pytest.mark.slow
def test_gradients_reach_every_parameter(folder):
    clip = open_plain_clip(str(folder))
    arguments = initial.arguments_from_clip(clip, arch="clip", head="clip")
    model = ScenarioCLIP(**arguments, rngs=nnx.Rngs(0))
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
    ids = clip.tokenizer.encode(siglip_files.TEXTS[:2], 12)[0]

    def loss(model):
        found = model(Inputs({"global": images}, {"global": ids}))
        return (found.image["global"][:, 0] * found.text["global"][:, 1]).sum()

    gradients = nnx.to_flat_state(nnx.state(nnx.grad(loss)(model)))
    silent = ["/".join(map(str, path)) for path, g in gradients if not np.abs(g[...]).max()]
    assert sorted(silent) == ["logit_bias/global", "logit_scale/global"]


def test_the_preset_has_the_sizes_of_its_weights():
    """Transformers' defaults are those of google/siglip-base-patch16-224."""
    values = runpy.run_path(str(Path(__file__).parents[2] / "configs/pretrain.py"))["get_config"](
        "siglipb16"
    )
    usual = transformers.SiglipConfig()
    for tower, theirs in (("vision", usual.vision_config), ("text", usual.text_config)):
        ours = values.model[tower]
        assert (ours.width, ours.depth) == (theirs.hidden_size, theirs.num_hidden_layers)
        assert (ours.heads, ours.mlp_dim) == (theirs.num_attention_heads, theirs.intermediate_size)
        assert (ours.activation, ours.eps) == (theirs.hidden_act, theirs.layer_norm_eps)
    text, vision = usual.text_config, usual.vision_config
    wanted = values.model.text.vocab_size, values.model.text.max_length
    assert wanted == (text.vocab_size, text.max_position_embeddings)
    sides = values.model.vision.image_size, values.model.vision.patch_size
    assert sides == (vision.image_size, vision.patch_size)
    assert values.model.embed_dim == 2 * vision.hidden_size


def test_half_precision_is_added_up_in_single(tmp_path):
    """The patches' bias goes into their positions after both were made float32."""
    folder = siglip_files.write(tmp_path / "m")
    arrays = {k: v.astype(np.float16) for k, v in load_file(folder / "model.safetensors").items()}
    save_file(arrays, folder / "model.safetensors")
    found = open_plain_clip(str(folder)).weights["vision.embeddings.position_embedding.weight"]
    inside = "vision_model.embeddings."
    kernel, bias, position = (
        arrays[f"{inside}{name}"].astype(np.float32)
        for name in ("patch_embedding.weight", "patch_embedding.bias", "position_embedding.weight")
    )
    shift = np.einsum("wcyx,c->w", kernel.astype(np.float64), (np.float64(CLIP_MEAN) - 0.5) / 0.5)
    np.testing.assert_allclose(found, position + bias + shift, atol=1e-6)


def test_packed_views_are_refused(folder):
    clip = open_plain_clip(str(folder))
    arguments = initial.arguments_from_clip(clip, arch="pyramid_clip")
    with pytest.raises(ValueError, match="no class token"):
        jax.eval_shape(lambda: ScenarioCLIP(**arguments, patch_packing=True, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", {"vision_config": {"vision_use_head": False}}, "vision_use_head of vision"),
        ("config.json", {"text_config": {"projection_size": 7}}, "projection_size of text_config"),
        ("config.json", {"text_config": {"vocab_size": 9}}, "vocab_size is 9"),
        ("config.json", {"text_config": {"hidden_act": "swish"}}, "hidden_act of the text tower"),
        ("config.json", {"vision_config": {"num_hidden_layers": 3}}, r"missing \(16\)"),
        ("config.json", {"model_type": "siglip2"}, "google/siglip2-base-patch16-224"),
        ("preprocessor_config.json", {"image_mean": None}, "has no image_mean"),
        ("tokenizer_config.json", {"pad_token": "[X]"}, "pad_token is '\\[X\\]'"),
        ("model.safetensors", "without bias", "patch_embedding.bias in it"),
        ("tokenizer_config.json", None, "no tokenizer_config.json"),
        ("spiece.model", None, "no tokenizer"),
        ("spiece.model", b"nonsense", "its tokenizer of SigLIP can't be read"),
    ],
)
def test_what_does_not_fit_is_named(folder, tmp_path, file, change, said):
    copy = shutil.copytree(folder, tmp_path / "m")
    if change == "without bias":
        arrays = load_file(copy / file)
        del arrays["vision_model.embeddings.patch_embedding.bias"]
        save_file(arrays, copy / file)
    elif change is None:
        (copy / file).unlink()
    elif isinstance(change, bytes):
        (copy / file).write_bytes(change)
    else:
        values = json.loads((copy / file).read_text())
        for name, value in change.items():
            values[name] = values.get(name, {}) | value if isinstance(value, dict) else value
        (copy / file).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=said):
        load(copy)


@pytest.mark.slow
def test_folders_for_pytorch_give_the_same(folder, tmp_path):
    started, out = tmp_path / "started", tmp_path / "out"
    convert.main(["from-huggingface", f"--model={folder}", f"--output={started}", "--head=clip"])
    convert.main(["to-pytorch", f"--checkpoint={started}", f"--output={out}"])
    model = transformers.AutoModel.from_pretrained(out, trust_remote_code=True).eval()
    processor = transformers.AutoProcessor.from_pretrained(out, trust_remote_code=True)
    pixels = ours(np.random.default_rng(0).random((2, 32, 32, 3), np.float32))
    texts, jax_model = siglip_files.TEXTS[:3], load(started)
    ids = processor(text=texts, level="relation")["input_ids"]
    with torch.no_grad():
        images = model.encode_image(torch.tensor(pixels.transpose(0, 3, 1, 2)), "relation")
        read = model.encode_text(ids, "relation")
    np.testing.assert_allclose(images, jax_model.encode_pixels(pixels, "relation"), atol=1e-5)
    np.testing.assert_allclose(read, jax_model.encode_text(texts, "relation"), atol=1e-5)
    again = load(out)  # the folder is read back
    np.testing.assert_array_equal(again.encode_text(texts), jax_model.encode_text(texts))
    longest = max(len(row) for row in jax_model.tokenizer.encode_ragged(texts, 12)[0])
    with torch.no_grad():  # as `pipeline` pads
        short = model.encode_text(ids[:, :longest], "relation")
    np.testing.assert_array_equal(short, read)
    for layout in ("reference", "huggingface-towers"):
        arguments = [f"--checkpoint={started}", f"--output={tmp_path / layout}"]
        with pytest.raises(SystemExit, match="SigLIP's towers"):
            convert.main(["to-pytorch", *arguments, f"--layout={layout}"])


@pytest.mark.slow
def test_patches_need_not_fill_the_image(tmp_path):
    """As in so400m at 384 pixels: what is over at two borders isn't seen."""
    folder = siglip_files.write(tmp_path / "m", image_size=38)
    model = load(folder)
    pixels = np.random.default_rng(0).random((2, 38, 38, 3), np.float32)
    image, _ = their_embeddings(folder, pixels, model.tokenizer.encode(["a"], 12)[0])
    found = unit(model.encode_pixels(ours(pixels)))
    np.testing.assert_allclose(found @ found.T, unit(image) @ unit(image).T, atol=2e-6)
    convert.main(["from-huggingface", f"--model={folder}", f"--output={tmp_path / 'started'}"])
    convert.main(
        ["to-pytorch", f"--checkpoint={tmp_path / 'started'}", f"--output={tmp_path / 'o'}"]
    )
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "o", trust_remote_code=True).eval()
    with torch.no_grad():
        images = theirs.encode_image(torch.tensor(ours(pixels).transpose(0, 3, 1, 2).copy()))
    wanted = load(tmp_path / "started").encode_pixels(ours(pixels))
    np.testing.assert_allclose(images, wanted, atol=1e-5)


@pytest.mark.parametrize("kind", [None, "PreTrainedTokenizerFast", "TokenizersBackend"])
@pytest.mark.parametrize("name", ["folder", "second"])
def test_a_tokenizer_that_another_library_saved_is_siglips_too(name, kind, tmp_path, request):
    copy = shutil.copytree(request.getfixturevalue(name), tmp_path / "m")
    settings = json.loads((copy / "tokenizer_config.json").read_text()) | {"tokenizer_class": kind}
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    wanted = load(request.getfixturevalue(name)).tokenizer
    texts = ["Ab, C", "two people"]
    np.testing.assert_array_equal(
        load(copy).tokenizer.encode(texts, 9)[0], wanted.encode(texts, 9)[0]
    )
