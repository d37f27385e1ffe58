"""Models in open_clip's format give what open_clip gives, or are refused by the field that doesn't fit."""

import json
import shutil

import numpy as np
import pytest

from scenarioclip_jax import convert, load
from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.data.normalization import CLIP_MEAN, CLIP_STD
from scenarioclip_jax.interop.plain_clip import open_plain_clip
from tests.interop import helpers, openclip_files

NAME = "gelu, own mean"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return openclip_files.write(tmp_path_factory.mktemp("openclip") / "model", NAME)


def unit(embeddings):
    return embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)


def cosines(model):
    """Of images and texts, by our library."""
    images = (openclip_files.pixels() - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)
    image, text = model.encode_pixels(images), model.encode_text(helpers.TEXTS)
    return unit(image) @ unit(text).T, unit(image) @ unit(image).T, unit(text) @ unit(text).T


@pytest.mark.parametrize("name", openclip_files.MODELS)
def test_cosines_are_those_of_open_clip(tmp_path, name):
    figures = json.loads(openclip_files.GOLDEN.read_text())["models"][name]
    image, text = (unit(np.float32(figures[key])) for key in ("image", "text"))
    found = cosines(load(openclip_files.write(tmp_path / "model", name)))
    for ours, theirs in zip(found, (image @ text.T, image @ image.T, text @ text.T), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_how_images_are_prepared(tmp_path, folder):
    assert load(folder).spec.fit == "centre_crop"
    squashed = openclip_files.write(tmp_path / "m", "quick_gelu, squash, text apart")
    assert load(squashed).spec.fit == "squash"


@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_of_its_training(tmp_path, folder, prefix):
    torch = pytest.importorskip("torch")
    copy = shutil.copytree(folder, tmp_path / "m")
    (copy / "open_clip_model.safetensors").unlink()
    arrays = openclip_files.arrays(openclip_files.MODELS[NAME][0])
    state = {prefix + key: torch.tensor(value) for key, value in arrays.items()}
    state[f"{prefix}logit_bias"] = torch.tensor([-10.0])
    state[f"{prefix}logit_scale"] = torch.tensor([3.5])
    torch.save({"epoch": 3, "name": "x", "state_dict": state}, copy / "epoch_3.pt")
    for ours, theirs in zip(cosines(load(copy)), cosines(load(folder)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_it_can_start_a_run_at_three_levels(tmp_path, folder):
    out = tmp_path / "out"
    convert.main(["from-huggingface", f"--model={folder}", f"--output={out}", "--head=clip"])
    started, plain = load(out), load(folder)
    for level in ("global", "object", "relation"):
        found = unit(started.encode_text(helpers.TEXTS, level))
        np.testing.assert_allclose(found, unit(plain.encode_text(helpers.TEXTS)), atol=1e-6)


def test_a_folder_with_both_formats_is_read_as_hugging_faces(tmp_path, folder):
    both = helpers.write_clip(tmp_path / "both")
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        shutil.copy(folder / name, both)
    assert open_plain_clip(str(both)).vision["depth"] == helpers.VISION["depth"]


def test_timms_own_config_hides_nothing(tmp_path, folder):
    both = shutil.copytree(folder, tmp_path / "both")
    (both / "config.json").write_text(json.dumps({"architecture": "vit_base_patch32_clip_224"}))
    for ours, theirs in zip(cosines(load(both)), cosines(load(folder)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def changed(folder, tmp_path, part, **fields):
    """A copy of the folder whose config has other fields; a part is a path of keys."""
    copy = shutil.copytree(folder, tmp_path / "changed", dirs_exist_ok=True)
    config = json.loads((folder / "open_clip_config.json").read_text())
    inner = config
    for key in part.split("/"):
        inner = inner[key]
    inner.update(fields)
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    return copy


@pytest.mark.parametrize(
    ("part", "fields", "said"),
    [
        ("model_cfg/vision_cfg", {"timm_model_name": "vit_x"}, "vision_cfg: timm_model_name is"),
        ("model_cfg/vision_cfg", {"pool_type": "avg"}, 'vision_cfg: pool_type is "avg"'),
        ("model_cfg/vision_cfg", {"new_thing": 1}, "vision_cfg: new_thing is 1; only CLIP's own"),
        ("model_cfg/vision_cfg", {"qk_norm": True}, "qk_norm is true"),
        ("model_cfg/vision_cfg", {"norm_kwargs": {"elementwise": 1}}, "norm_kwargs is"),
        ("model_cfg/vision_cfg", {"layers": [2, 2, 2, 2]}, r"layers is '\[2, 2, 2, 2\]'"),
        ("model_cfg/text_cfg", {"heads": 5}, "text_cfg: width 24 is not a multiple"),
        ("model_cfg/vision_cfg", {"image_size": 36}, "36 is not a multiple of patch_size 8"),
        ("model_cfg/vision_cfg", {"layers": 3}, r"missing \(16\)"),
        ("model_cfg/vision_cfg", {"mlp_ratio": "x"}, "mlp_ratio is 'x'"),
        (
            "model_cfg/text_cfg",
            {"tokenizer_kwargs": {"clean": "canonicalize"}},
            "tokenizer_kwargs is",
        ),
        ("model_cfg/text_cfg", {"hf_model_name": "roberta"}, "text_cfg: hf_model_name is"),
        ("model_cfg/text_cfg", {"no_causal_mask": True}, "SigLIP can be read in Hugging Face's"),
        ("model_cfg/text_cfg", {"vocab_size": 10}, "vocab_size of text_cfg is 10|of another shape"),
        ("model_cfg", {"embed_dim": "x"}, "embed_dim is 'x'"),
        ("preprocess_cfg", {"mean": [0.5]}, r"mean is \[0.5\]"),
        ("preprocess_cfg", {"std": [0.5, -1, 0.5]}, "three positive numbers"),
        ("preprocess_cfg", {"interpolation": "nearest"}, "interpolation of preprocess_cfg is"),
        ("preprocess_cfg", {"size": 64}, "size of preprocess_cfg is 64"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, folder, part, fields, said):
    with pytest.raises(CheckpointError, match=said):
        load(changed(folder, tmp_path, part, **fields))


def test_fields_that_other_versions_wrote_may_say_no(tmp_path, folder):
    old = {"global_average_pool": False, "input_patchnorm": False, "n_queries": 256}
    load(changed(folder, tmp_path, "model_cfg/vision_cfg", **old))


def test_missing_files_are_named_with_what_to_do(tmp_path, folder):
    copy = shutil.copytree(folder, tmp_path / "m")
    shutil.copy(copy / "open_clip_model.safetensors", copy / "other.safetensors")
    load(copy)  # its own name comes first
    (copy / "open_clip_model.safetensors").rename(copy / "mine.safetensors")
    with pytest.raises(CheckpointError, match=r"there is mine\.safetensors, other\.safetensors"):
        load(copy)
    (copy / "other.safetensors").unlink()
    load(copy)
    helpers.tokenizer().save(copy / "tokenizer.json")
    with pytest.raises(CheckpointError, match="pools at a text's highest id"):
        load(copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json in it"):
        load(copy)
    (copy / "mine.safetensors").unlink()
    with pytest.raises(CheckpointError, match="there is no file"):
        load(copy)


def test_a_file_without_its_config_gets_one_to_paste(tmp_path, folder):
    copy = shutil.copytree(folder, tmp_path / "m")
    (copy / "open_clip_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"write open_clip_config\.json beside it") as error:
        load(copy)
    text = str(error.value)
    pasted = json.loads(text[text.index("with {") + 5 : text.index(", and put")])
    pasted["model_cfg"]["quick_gelu"] = False
    # Widths of the heads can't be read from shapes; CLIP's are 64.
    pasted["model_cfg"]["vision_cfg"]["head_width"] = 8
    pasted["model_cfg"]["text_cfg"]["heads"] = 4
    pasted["preprocess_cfg"] = openclip_files.MODELS[NAME][1]
    (copy / "open_clip_config.json").write_text(json.dumps(pasted))
    for ours, theirs in zip(cosines(load(copy)), cosines(load(folder)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
