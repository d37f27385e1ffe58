"""preprocessor_config.json: pictures are prepared as it says, or the model is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax import convert, load
from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec
from scenarioclip_jax.interop.image_settings import read_image_settings
from tests.interop import helpers

CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
}
SQUARE = {"height": 32, "width": 32}


def write(folder, settings, name="preprocessor_config.json"):
    wrapped = {"image_processor": settings} if name.startswith("processor") else settings
    (folder / name).write_text(json.dumps(wrapped))


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_height_and_width_mean_squash(tmp_path, name):
    """Never the crop that a shortest edge means: embeddings are those of the squashed photo."""
    folder = helpers.write_clip(tmp_path / "clip")
    write(folder, CLIP | {"size": SQUARE}, name)
    model = load(folder)
    assert model.spec.fit == "squash"
    photo = Image.fromarray(helpers.pictures(2)[1])  # 91 x 50
    squashed = photo.resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(model.encode_image(photo), model.encode_image(squashed))
    convert.main(["from-huggingface", f"--model={folder}", f"--output={tmp_path / 'out'}"])
    assert ModelSpec.read(tmp_path / "out").fit == "squash"


@pytest.mark.parametrize(
    ("change", "fit"),
    [
        ({}, "centre_crop"),
        ({"size": 32, "crop_size": 32}, "centre_crop"),
        ({"do_convert_rgb": False, "do_center_crop": True}, "centre_crop"),
        ({"size": SQUARE}, "squash"),
        ({"size": SQUARE, "do_center_crop": False, "crop_size": 7}, "squash"),
        ({"size": {**SQUARE, "shortest_edge": None}}, "squash"),
        ({"use_square_size": True}, "squash"),
        ({"image_processor_type": "ViTImageProcessor", "size": SQUARE}, "squash"),
    ],
)
def test_ways_to_make_a_square(tmp_path, change, fit):
    write(tmp_path, CLIP | change)
    assert read_image_settings(tmp_path, 32).fit == fit


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"size": {"longest_edge": 32}}, "size"),
        ({"size": {"height": 32, "width": 40}}, "size"),
        ({"size": {"shortest_edge": 32, "longest_edge": 32}}, "size"),
        ({"size": {"shortest_edge": 36}}, "size"),
        ({"size": {"height": 32}}, "size"),
        ({"crop_size": {"shortest_edge": 32}}, "crop_size"),
        ({"crop_size": 24}, "crop_size"),
        ({"do_center_crop": False}, "do_center_crop"),
        ({"do_rescale": False}, "do_rescale"),
        ({"do_pad": True}, "do_pad"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order"),
        ({"image_mean": 0.48145466}, "image_mean"),
        ({"image_mean": "x"}, "image_mean"),
        ({"image_mean": [0.5, 0.5]}, "image_mean"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std"),
        ({"resample": 1}, "resample"),
        ({"image_processor_type": "SiglipImageProcessor", "size": 32}, "size"),
    ],
)
def test_what_is_not_clips_is_refused_by_name(tmp_path, change, field):
    write(tmp_path, CLIP | change)
    with pytest.raises(CheckpointError, match=rf"preprocessor_config\.json: {field} is "):
        read_image_settings(tmp_path, 32)


def test_defaults_of_another_processor_are_not_clips(tmp_path):
    write(tmp_path, {"image_processor_type": "ViTImageProcessor", "size": SQUARE})
    with pytest.raises(CheckpointError, match=r"no image_mean, and the default of ViTImageProc"):
        read_image_settings(tmp_path, 32)


def test_a_processor_config_without_image_settings_hides_nothing(tmp_path):
    (tmp_path / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    write(tmp_path, CLIP | {"image_mean": [0.5, 0.5, "x"]})
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: image_mean is"):
        read_image_settings(tmp_path, 32)


def test_another_normalization_is_that_of_the_weights(tmp_path):
    """Their embeddings of pixels as they normalize them are ours of pixels as we do."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    mean, std = np.float32([0.5, 0.4, 0.6]), np.float32([0.5, 0.3, 0.2])
    folder = helpers.write_clip(tmp_path / "clip")
    write(folder, CLIP | {"image_mean": mean.tolist(), "image_std": std.tolist()})
    pixels = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    pixels[1, :16] = 0  # black, as outside of regions
    theirs = transformers.CLIPModel.from_pretrained(folder).eval()
    with torch.no_grad():
        images = torch.from_numpy(((pixels - mean) / std).transpose(0, 3, 1, 2).copy())
        wanted = theirs.get_image_features(images)
    wanted = np.asarray(getattr(wanted, "pooler_output", wanted))
    ours = (pixels - np.float32(CLIP["image_mean"])) / np.float32(CLIP["image_std"])
    found = load(folder).encode_pixels(ours)
    cosines = [_cosines(each) for each in (found, wanted)]
    np.testing.assert_allclose(*cosines, atol=1e-5)


def _cosines(embeddings):
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return unit @ unit.T


def test_bilinear_resizing_is_told(tmp_path, capsys):
    write(tmp_path, CLIP | {"resample": 2})
    assert read_image_settings(tmp_path, 32).fit == "centre_crop"
    assert "resample is bilinear" in capsys.readouterr().err
