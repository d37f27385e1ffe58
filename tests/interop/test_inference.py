"""`scenarioclip_jax.load`: every kind of folder, every kind of input, and errors that say what to do."""

import pickle
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import scenarioclip_jax
from scenarioclip_jax import checkpoint
from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec
from scenarioclip_jax.data.damage import DamagedImageWarning
from scenarioclip_jax.data.stored.labels import normalize_label
from scenarioclip_jax.interop import initial
from scenarioclip_jax.interop.plain_clip import open_plain_clip
from tests.interop import helpers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    clip = open_plain_clip(str(helpers.write_clip(tmp_path_factory.mktemp("clip") / "model")))
    model = initial.arguments_from_clip(clip, arch="scenario_clip_1")
    params = initial.from_clip(clip, model)
    ema = {path: value * 1.1 for path, value in initial.teacher_of(params).items()}
    folder = tmp_path_factory.mktemp("model") / "trained"
    spec = ModelSpec(model, {"global": 12, "object": 6, "relation": 9})
    checkpoint.save_model(folder, spec, params, ema, step=3)
    helpers.tokenizer().save(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return scenarioclip_jax.load(folder, batch_size=8)


def test_pictures_of_every_kind(model, tmp_path):
    arrays = helpers.pictures(2)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for array, path in zip(arrays, paths, strict=True):
        Image.fromarray(array).save(path)
    wanted = model.encode_image(arrays, "object")
    assert wanted.shape == (2, helpers.PROJECTION)
    assert wanted.dtype == np.float32
    opened = [Image.open(path) for path in paths]
    for pictures in (paths, list(map(str, paths)), opened, [arrays[0], paths[1]]):
        np.testing.assert_array_equal(model.encode_image(pictures, "object"), wanted)
    for one in (paths[0], str(paths[0]), opened[0], arrays[0]):
        np.testing.assert_allclose(model.encode_image(one, "object"), wanted[:1], atol=1e-6)
    assert not np.allclose(model.encode_image(arrays, "global"), wanted)
    batch = np.stack([arrays[0], arrays[0]])
    assert model.encode_image(batch).shape == (2, helpers.PROJECTION)
    gray = Image.fromarray(arrays[0][:, :, 0])
    np.testing.assert_array_equal(
        model.encode_image(gray), model.encode_image(np.asarray(gray.convert("RGB")))
    )


def test_a_damaged_file_is_told_of_once_and_embedded(model, tmp_path):
    picture = Image.fromarray(np.random.default_rng(5).integers(0, 255, (64, 64, 3), np.uint8))
    picture.save(tmp_path / "half.jpg", quality=91)
    content = (tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2] + b"\xff\xd9")
    with pytest.warns(
        DamagedImageWarning, match=r"half\.jpg: .*damaged.*download it again"
    ) as found:
        embedded = model.encode_image([tmp_path / "half.jpg", str(tmp_path / "half.jpg")])
    assert len(found) == 1
    assert embedded.shape == (2, helpers.PROJECTION)


def test_a_photo_stored_on_its_side_is_turned(model, tmp_path):
    upright = Image.fromarray(helpers.pictures(1)[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(
        model.encode_image(tmp_path / "turned.png"), model.encode_image(upright)
    )


def test_one_array_or_tensor_is_one_picture(model):
    torch = pytest.importorskip("torch")
    array = helpers.pictures(1)[0]
    wanted = model.encode_image(array)
    for one in (
        torch.from_numpy(array),
        torch.from_numpy(array).permute(2, 0, 1),
        jnp.asarray(array),
        array.transpose(2, 0, 1),
        (torch.from_numpy(array) / 255).requires_grad_(),
    ):
        found = model.encode_image(one)
        assert found.shape == (1, helpers.PROJECTION)
        np.testing.assert_array_equal(found, wanted)
    batch = torch.from_numpy(array).permute(2, 0, 1)[None].repeat(3, 1, 1, 1)
    assert model.encode_image(batch).shape == (3, helpers.PROJECTION)
    with pytest.raises(
        ValueError, match=r"torch.Tensor of torch.int64 \[8, 9, 3\] should be uint8"
    ):
        model.encode_image(torch.zeros(8, 9, 3, dtype=torch.int64))
    prepared = model._pixels([array])
    np.testing.assert_array_equal(model.encode_pixels([prepared[0]]), wanted)  # a list of arrays
    for pixels in (
        jnp.asarray(prepared, jnp.bfloat16),
        torch.from_numpy(prepared).bfloat16(),
        torch.from_numpy(prepared).requires_grad_(),
    ):
        np.testing.assert_allclose(model.encode_pixels(pixels), wanted, atol=0.05)


def test_prepared_inputs_in_both_layouts(model):
    pictures = helpers.pictures(3)
    nhwc = model._pixels(pictures)
    wanted = model.encode_image(pictures, "relation")
    np.testing.assert_array_equal(model.encode_pixels(nhwc, "relation"), wanted)
    nchw = nhwc.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(model.encode_pixels(nchw, "relation"), wanted)
    np.testing.assert_array_equal(model.encode_pixels(nchw, "relation", layout="NCHW"), wanted)
    with pytest.raises(ValueError, match=r"expected N x \(32, 32, 3\)"):
        model.encode_pixels(nchw, "relation", layout="NHWC")
    with pytest.raises(ValueError, match=r"expected N x \(3, 32, 32\) or \(32, 32, 3\)"):
        model.encode_pixels(nchw[:, :, :16])
    with pytest.raises(ValueError, match="encode_image takes uint8"):
        model.encode_pixels(np.zeros((1, 32, 32, 3), np.uint8))
    for wrong in (nhwc * 60 + 128, np.where(nhwc > 1, np.nan, nhwc)):
        with pytest.raises(ValueError, match=r"aren't normalized.*encode_image takes uint8"):
            model.encode_pixels(wrong)


def test_texts_and_ids(model):
    wanted = model.encode_text(helpers.TEXTS, "relation")
    assert wanted.shape == (4, helpers.PROJECTION)
    ids, _ = model.tokenizer.encode(helpers.TEXTS, 9)
    np.testing.assert_array_equal(model.encode_ids(ids, "relation"), wanted)
    # What follows the end doesn't matter, nor does the row's length.
    longer = np.concatenate([ids, np.full((4, 7), 5)], axis=1)
    np.testing.assert_allclose(model.encode_ids(longer, "relation"), wanted, atol=1e-6)
    np.testing.assert_allclose(
        model.encode_text(helpers.TEXTS[0], "relation"), wanted[:1], atol=1e-6
    )
    # Cut to the level's length: six tokens for objects.
    first, second = model.encode_text(["one two three four", "one two three five"], "object")
    np.testing.assert_array_equal(first, second)
    cosines = model.similarity(wanted, wanted)
    np.testing.assert_allclose(np.diag(cosines), 1, rtol=1e-5)
    assert model.logit_scale("object") == pytest.approx(1 / 0.07, rel=1e-5)


@pytest.mark.parametrize("text", helpers.UNTIDY)
def test_texts_have_the_form_that_labels_have_in_training(model, text):
    """So the same words have the same tokens, whether they were built into shards or typed."""
    ids, _ = model.tokenizer.encode([normalize_label(text)], 12)
    np.testing.assert_array_equal(model.encode_text(text), model.encode_ids(ids))


def test_batches_are_padded_and_nothing_is_compiled_twice(folder):
    model = scenarioclip_jax.load(folder, batch_size=8)
    pictures = helpers.pictures(4) * 5
    all_at_once = model.encode_image(pictures, "object")  # 8 + 8 + 4
    one_by_one = np.concatenate([model.encode_image(p, "object") for p in pictures])
    np.testing.assert_allclose(all_at_once, one_by_one, rtol=1e-6, atol=1e-6)
    for count in range(1, 20):
        model.encode_image(pictures[:count], "object")
        model.encode_text(["ok"] * count, "object")
        model.encode_ids(np.full((count, 3), model.tokenizer.eos_id), "object")
    assert model._runner._image._cache_size() == 2  # batches of 1 and 8
    assert model._runner._text._cache_size() == 2


def test_teacher_and_bfloat16(folder, model):
    pictures = helpers.pictures(2)
    student = model.encode_image(pictures)
    assert not np.allclose(
        scenarioclip_jax.load(folder, weights="ema").encode_image(pictures), student
    )
    half = scenarioclip_jax.load(folder, dtype="bfloat16").encode_image(pictures)
    np.testing.assert_allclose(half, student, atol=0.1)
    assert not np.array_equal(half, student)


def test_a_model_can_be_pickled(model):
    again = pickle.loads(pickle.dumps(model))
    wanted = model.encode_text(helpers.TEXTS, "object")
    np.testing.assert_array_equal(again.encode_text(helpers.TEXTS, "object"), wanted)


def test_equal_texts_are_computed_once(model, monkeypatch):
    seen = []
    encode = model.tokenizer.encode
    monkeypatch.setattr(
        model.tokenizer, "encode", lambda texts, n: seen.append(len(texts)) or encode(texts, n)
    )
    found = model.encode_text(["ok", "two people talk", "ok", "ok"])
    np.testing.assert_array_equal(found[[0, 0]], found[[2, 3]])
    np.testing.assert_allclose(found[1:2], model.encode_text("two people talk"), atol=1e-6)
    assert seen == [2, 1]


def test_arguments_of_load(folder):
    for dtype in ("float16", "float64", "foo", None):
        with pytest.raises(ValueError, match=r"dtype is .*must be one of float32, bfloat16"):
            scenarioclip_jax.load(folder, dtype=dtype)
    with pytest.raises(ValueError, match="batch_size is 0"):
        scenarioclip_jax.load(folder, batch_size=0)


def test_bad_inputs(model, tmp_path):
    with pytest.raises(ValueError, match="level is 'scene'; it must be one of global, object"):
        model.encode_text("x", "scene")
    with pytest.raises(ValueError, match="the list is empty"):
        model.encode_image([])
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg"):
        model.encode_image([tmp_path / "absent.jpg"])
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    with pytest.raises(OSError, match=r"broken\.png"):
        model.encode_image(tmp_path / "broken.png")
    with pytest.raises(
        ValueError, match=r"float64 \[8, 8, 3\] has values from -1.5 .*encode_pixels"
    ):
        model.encode_image([np.full((8, 8, 3), -1.5)])
    with pytest.raises(ValueError, match=r"uint8 \[0, 8, 3\] has no pixels"):
        model.encode_image(np.zeros((0, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"no end-of-text id \d+ in rows \[1\]"):
        model.encode_ids(np.array([[model.tokenizer.eos_id, 1], [3, 4]]))
    with pytest.raises(ValueError, match="the model reads 20"):
        model.encode_ids(np.full((1, 21), model.tokenizer.eos_id))
    with pytest.raises(ValueError, match="ids must be from 0 to 319"):
        model.encode_ids(np.full((1, 4), 320))
    for texts, got in (
        ([1, 2], r"1 \(int\)"),
        (5, r"5 \(int\)"),
        ({"a": 1}, r"dict"),
        (b"a", "bytes"),
    ):
        with pytest.raises(ValueError, match=rf"texts: .*got .*{got}.*encode_ids takes token ids"):
            model.encode_text(texts)
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        model.encode_text(["ok", "a \ud83d"])


def test_wrong_folders(folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"no config.json in it, nor vision/config.json"):
        scenarioclip_jax.load(tmp_path)
    with pytest.raises(CheckpointError, match="no such folder"):
        scenarioclip_jax.load(tmp_path / "absent" / "deep" / "er")
    (tmp_path / "a.ckpt").touch()
    with pytest.raises(CheckpointError, match=r"a file; convert it first: .* from-reference"):
        scenarioclip_jax.load(tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 7 .*found: 3"):
        scenarioclip_jax.load(folder, step=7)
    with pytest.raises(CheckpointError, match="weights is 'teacher'"):
        scenarioclip_jax.load(folder, weights="teacher")


# Orbax's pending reads complain when they are dropped.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_checkpoint(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="put the model's tokenizer there"):
        scenarioclip_jax.load(copy)
    helpers.tokenizer().save(copy)
    spec = ModelSpec.read(copy)
    ModelSpec(spec.model | {"arch": "pyramid_clip"}, spec.lengths).write(copy)
    with pytest.raises(CheckpointError, match=r"model\.json don't belong together: text/head/all"):
        scenarioclip_jax.load(copy)
    spec.write(copy)
    data = max(
        (p for p in (copy / "checkpoints").rglob("*") if p.is_file()),
        key=lambda p: p.stat().st_size,
    )
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="incomplete or damaged; copy it again"):
        scenarioclip_jax.load(copy)


def test_the_package_imports_without_jax():
    code = "import sys, scenarioclip_jax; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
