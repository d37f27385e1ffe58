"""`to-pytorch`: what comes out loads in PyTorch, computes the same, and comes back bit for bit."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from scenarioclip_jax import checkpoint, convert, load
from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec
from scenarioclip_jax.data import photo_digests
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.settings import FITS
from scenarioclip_jax.data.stored.labels import normalize_label
from scenarioclip_jax.evaluation.seen import known_to
from scenarioclip_jax.interop import exported, initial, to_pytorch
from scenarioclip_jax.interop.plain_clip import open_plain_clip
from scenarioclip_jax.interop.portable import portable
from tests.interop import helpers

ARCHITECTURES = (
    *("clip", "pyramid_clip", "scenario_clip_0", "scenario_clip_1"),
    "scenario_clip_2",
    "scenario_clip_shared",
)
# One has every level's own towers and a teacher, the other none of that.
QUICK = ("clip", "scenario_clip_1")
LENGTHS = {"global": 12, "object": 6, "relation": 9}


def random_model(arch, *, share_stem, clip_folder, regions="views"):
    """A model whose arrays are all different, heads and norms included."""
    clip = open_plain_clip(str(clip_folder))
    model = initial.arguments_from_clip(clip, arch=arch, share_stem=share_stem, embed_dim=40)
    model |= {"regions": regions, "object_parts": 1, "ends_as_objects": False}
    params = initial.from_clip(clip, model)
    rng = np.random.default_rng(7)
    params = {
        path: (value + 0.05 * rng.standard_normal(value.shape)).astype(np.float32)
        for path, value in params.items()
    }
    ema = None
    if arch == "scenario_clip_1":
        ema = {p: v + np.float32(0.03) for p, v in initial.teacher_of(params).items()}
    return model, params, ema


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return helpers.write_clip(tmp_path_factory.mktemp("clip") / "model")


TEACHER = {"steps": 4, "decay": 0.9995, "warmup_steps": 2000}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, clip):
    """Makes (and keeps) a checkpoint by architecture: folder, parameters, teacher."""
    made = {}

    def make(
        arch,
        share_stem=False,
        fit="centre_crop",
        *,
        logit_bias=False,
        patch_packing=False,
        regions="views",
    ):
        key = arch, share_stem, fit, logit_bias, patch_packing, regions
        if key not in made:
            folder = tmp_path_factory.mktemp("trained") / "-".join(map(str, key))
            model, params, ema = random_model(
                arch, share_stem=share_stem, clip_folder=clip, regions=regions
            )
            if logit_bias:
                model |= {"logit_bias": True}
                params |= {f"logit_bias/{v}": np.array(-3.0, np.float32) for v in LEVELS}
            if patch_packing:
                model |= {"patch_packing": True}
            folder.mkdir()
            helpers.tokenizer().save(folder)
            spec = ModelSpec(model, LENGTHS, fit)
            checkpoint.save_model(folder, spec, params, ema, step=5, teacher=TEACHER)
            made[key] = folder, params, ema
        return made[key]

    return make


def to_folder(source, output, *flags):
    convert.main(["to-pytorch", f"--checkpoint={source}", f"--output={output}", *flags])
    return output


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("share_stem", [False, True])
def test_round_trip_is_bit_identical(trained, tmp_path, arch, share_stem):
    source, params, _ = trained(arch, share_stem)
    spec, back, _ = exported.read(to_folder(source, tmp_path / "out"))
    helpers.assert_same(back, params)
    wanted = ModelSpec.read(source)
    assert (spec.lengths, spec.fit) == (wanted.lengths, wanted.fit)
    assert spec.model == wanted.model | {"logit_bias": False, "patch_packing": False}


def test_the_style_of_focused_regions_is_kept(trained, tmp_path):
    source, params, _ = trained("scenario_clip_0")
    spec = dataclasses.replace(ModelSpec.read(source), region_style="published")
    checkpoint.save_model(tmp_path / "source", spec, params, step=5)
    helpers.tokenizer().save(tmp_path / "source")
    out = to_folder(tmp_path / "source", tmp_path / "out")
    assert exported.read(out)[0].region_style == "published"
    assert "dimmed by the distance" in (out / "README.md").read_text()
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"region_style": "blur"}))
    with pytest.raises(CheckpointError, match=r"region_style is 'blur'; it must be one of stored"):
        exported.read(out)
    del config["region_style"]  # a folder of before there were styles
    (out / "config.json").write_text(json.dumps(config))
    assert exported.read(out)[0].region_style == "stored"


def test_logit_biases_of_the_sigmoid_loss(trained, tmp_path):
    source, params, _ = trained("pyramid_clip", logit_bias=True)
    out = to_folder(source, tmp_path / "out")
    helpers.assert_same(exported.read(out)[1], params)
    torch = pytest.importorskip("torch")
    from transformers import AutoModel

    model = AutoModel.from_pretrained(out, trust_remote_code=True).eval()
    ours = load(source)
    pixels = np.random.default_rng(1).standard_normal((2, 3, 32, 32), np.float32)
    ids = ours.tokenizer.encode(helpers.TEXTS, 6)[0]
    with torch.no_grad():
        found = model(torch.from_numpy(pixels), torch.from_numpy(ids).long(), level="object")
    cosines = ours.similarity(ours.encode_pixels(pixels, "object"), ours.encode_ids(ids, "object"))
    wanted = ours.logit_scale("object") * cosines - 3
    np.testing.assert_allclose(found.logits_per_image.numpy(), wanted, atol=1e-4)
    with pytest.raises(SystemExit, match="has logit biases, which the published"):
        to_folder(source, tmp_path / "ref", "--layout=reference")


@pytest.mark.slow
def test_black_patches_of_a_packed_model_are_not_seen(trained, tmp_path):
    """In PyTorch too, at the levels whose pictures are masked; other layouts can't say so and are refused."""
    source, params, _ = trained("scenario_clip_1", patch_packing=True)
    out = to_folder(source, tmp_path / "out")
    spec, back, _ = exported.read(out)
    helpers.assert_same(back, params)
    assert spec.model["patch_packing"]
    for layout in ("reference", "huggingface-towers"):
        with pytest.raises(SystemExit, match="trained with patch packing"):
            to_folder(source, tmp_path / layout, f"--layout={layout}")
    torch = pytest.importorskip("torch")
    from transformers import AutoModel

    theirs, ours = AutoModel.from_pretrained(out, trust_remote_code=True).eval(), load(source)
    photo = np.random.default_rng(2).integers(0, 256, (32, 32, 3), np.uint8)
    masked = photo.copy()
    masked[:, 16:] = 0
    pixels = ours._pixels([photo, masked])
    for level in LEVELS:
        with torch.no_grad():
            found = theirs.encode_image(torch.from_numpy(pixels.transpose(0, 3, 1, 2)), level)
        np.testing.assert_allclose(found.numpy(), ours.encode_pixels(pixels, level), atol=1e-5)
    plain = load(trained("scenario_clip_1")[0])  # the same weights
    for level, same in (("global", True), ("object", False)):
        whole, half = plain.encode_pixels(pixels, level), ours.encode_pixels(pixels, level)
        np.testing.assert_allclose(whole[0], half[0], atol=1e-5)
        assert np.allclose(whole[1], half[1], atol=1e-3) == same


def test_round_trip_of_teacher_and_of_bfloat16(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(to_pytorch, "SHARD_BYTES", 100_000)  # so that there are shards
    source, params, ema = trained("scenario_clip_1")
    out = to_folder(source, tmp_path / "out", "--weights=ema", "--dtype=bfloat16")
    assert (out / "model.safetensors.index.json").is_file()
    assert len(list(out.glob("model-*.safetensors"))) > 2
    half = {p: np.asarray(v).astype(ml_dtypes.bfloat16) for p, v in (params | ema).items()}
    helpers.assert_same(exported.read(out)[1], half)
    torch = pytest.importorskip("torch")
    from transformers import AutoModel

    model, report = AutoModel.from_pretrained(
        out, trust_remote_code=True, output_loading_info=True, dtype="auto"
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        assert model.encode_image(torch.zeros(1, 3, 32, 32), "object").shape == (1, 40)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch",
    [pytest.param(a, marks=[] if a in QUICK else [pytest.mark.slow]) for a in ARCHITECTURES],
)
def test_automodel_computes_the_same(trained, tmp_path, arch):
    torch = pytest.importorskip("torch")
    from transformers import AutoModel

    source, _, ema = trained(arch, share_stem=arch == "scenario_clip_0")
    weights = "ema" if ema else "student"
    out = to_folder(source, tmp_path / "out", f"--weights={weights}")
    theirs, report = AutoModel.from_pretrained(
        out, trust_remote_code=True, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs = theirs.eval()
    ours = load(source, weights=weights)
    again = load(out)  # the folder, back in JAX
    pixels = np.random.default_rng(1).standard_normal((3, 3, 32, 32), np.float32)
    ids = ours.tokenizer.encode(helpers.TEXTS, 12)[0]
    found = {}
    for level in LEVELS:
        with torch.no_grad():
            out = theirs(torch.from_numpy(pixels), torch.from_numpy(ids).long(), level=level)
        image, text = ours.encode_pixels(pixels, level), ours.encode_ids(ids, level)
        np.testing.assert_allclose(out.image_embeds.numpy(), image, atol=1e-5)
        np.testing.assert_allclose(out.text_embeds.numpy(), text, atol=1e-5)
        logits = ours.logit_scale(level) * ours.similarity(image, text)
        np.testing.assert_allclose(out.logits_per_image.numpy(), logits, atol=1e-4)
        np.testing.assert_array_equal(again.encode_pixels(pixels, level), image)
        np.testing.assert_array_equal(again.encode_ids(ids, level), text)
        found[level] = image
    differ = not np.allclose(found["object"], found["relation"])
    # With these a level has its own towers or heads.
    assert differ == (arch in ("scenario_clip_0", "scenario_clip_1", "scenario_clip_shared"))
    with pytest.raises(ValueError, match="level is 'scene'"):
        theirs.encode_image(torch.from_numpy(pixels), "scene")
    with pytest.raises(ValueError, match=r"expected \[N, 3, 32, 32\]"):
        theirs.encode_image(torch.zeros(1, 3, 16, 16), "global")


@pytest.mark.slow
@pytest.mark.parametrize("fit", FITS)
def test_both_processors_agree(trained, tmp_path, fit):
    torch = pytest.importorskip("torch")
    from transformers import AutoProcessor

    source, _, _ = trained("scenario_clip_0", fit=fit)
    out = to_folder(source, tmp_path / "out")
    theirs = AutoProcessor.from_pretrained(out, trust_remote_code=True)
    for module in to_pytorch.SHARED:  # the very same code, but for imports
        file = Path(module.__file__)
        assert (out / file.name).read_text() == portable(file.read_text())
    ours = load(source)
    # Sizes for which rounding matters: odd margins, panoramas, smaller than the view.
    rng = np.random.default_rng(3)
    sizes = [(45, 67), (91, 50), (32, 32), (33, 64), (61, 32), (7, 200), (300, 9), (20, 11)]
    photos = [Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)) for h, w in sizes]
    photos += [Image.fromarray(picture) for picture in helpers.pictures(4)]
    photos += [photos[0].convert("L"), photos[0].convert("RGBA"), photos[1].convert("CMYK")]
    turned = photos[0].copy()
    turned.getexif()[0x0112] = 6  # stored lying on its side
    photos.append(turned)
    # Everything else that a picture can be: alpha of other kinds, more than 8 bits, tensors, paths.
    photos += [photos[0].convert("LA"), photos[1].convert("RGBa")]
    photos.append(Image.fromarray(np.asarray(photos[0].convert("L")).astype(np.uint16) * 16))
    photos.append(Image.fromarray((np.asarray(photos[0].convert("L")) / 255).astype(np.float32)))
    photos += [torch.from_numpy(picture).permute(2, 0, 1) for picture in helpers.pictures(1)]
    photos[0].save(tmp_path / "photo.png")
    photos += [tmp_path / "photo.png", str(tmp_path / "photo.png")]
    pixels = theirs(images=photos)["pixel_values"].numpy().transpose(0, 2, 3, 1)
    # The issue asks for 1 / 255; both make the same calls to Pillow, so nothing differs at all.
    np.testing.assert_array_equal(pixels, ours._pixels(photos))
    for one in (photos[-3], photos[-1], jnp.asarray(helpers.pictures(1)[0])):  # not its rows
        assert theirs(images=one)["pixel_values"].shape == (1, 3, 32, 32)
    with pytest.raises(ValueError, match="the list is empty"):
        theirs(images=[])
    texts = [
        *helpers.TEXTS,
        *helpers.UNTIDY,
        "",
        "é 日",
        "a<|endoftext|> ok",
        "one two three four five six " * 5,
    ]
    for level in LEVELS:
        wanted, _ = ours.tokenizer.encode(list(map(normalize_label, texts)), LENGTHS[level])
        np.testing.assert_array_equal(theirs(text=texts, level=level)["input_ids"], wanted)
    # Pipelines call the tokenizer itself, which normalizes too.
    for text in helpers.UNTIDY:
        wanted = theirs.tokenizer([normalize_label(text)])["input_ids"]
        assert theirs.tokenizer([text])["input_ids"] == wanted, text
    # A folder that was saved again by Transformers still works alike.
    theirs.save_pretrained(tmp_path / "again")
    again = AutoProcessor.from_pretrained(tmp_path / "again", trust_remote_code=True)
    both = again(images=photos[:2], text=texts, level="object")
    np.testing.assert_array_equal(
        both["input_ids"], theirs(text=texts, level="object")["input_ids"]
    )
    np.testing.assert_array_equal(both["pixel_values"].numpy().transpose(0, 2, 3, 1), pixels[:2])


def test_reference_layout_round_trip(trained, tmp_path):
    torch = pytest.importorskip("torch")
    source, params, ema = trained("scenario_clip_1")
    out = to_folder(source, tmp_path / "out", "--layout=reference")
    written = torch.load(out / "scenarioclip.ckpt", weights_only=True)
    assert (written["global_step"], written["epoch"]) == (5, 0)
    assert written["ema"].keys() == {"teacher_state", *TEACHER}
    state = written["state_dict"]
    assert "model.relation_visual_encoder.vision_model.pre_layrnorm.weight" in state
    assert "student_teacher_loss_fn.distillation_loss_fn.logit_scale_s" in state
    assert "global_loss.logit_scale" in state
    convert.main(
        [
            "from-reference",
            f"--checkpoint={out}/scenarioclip.ckpt",
            f"--clip-config={out}/config.json",
            f"--output={tmp_path / 'back'}",
        ]
    )
    back, teacher, _ = checkpoint.load_student_and_ema(tmp_path / "back")
    helpers.assert_same(back, params)
    assert checkpoint.load_record(tmp_path / "back", 5, "teacher") == TEACHER
    # A teacher has no logit scales in the published layout.
    helpers.assert_same(teacher, {p: v for p, v in ema.items() if not p.startswith("logit")})


@pytest.mark.parametrize("arch", ["pyramid_clip", "scenario_clip_0"])
def test_towers_layout_is_plain_clip(trained, tmp_path, arch):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, CLIPTextModel, CLIPVisionModel

    source, _, _ = trained(arch)
    out = to_folder(source, tmp_path / "out", "--layout=huggingface-towers")
    ours = load(source)
    branch = "all" if arch == "pyramid_clip" else "object"
    pixels = np.random.default_rng(1).standard_normal((2, 3, 32, 32), np.float32)
    ids = ours.tokenizer.encode(helpers.TEXTS, LENGTHS["object"])[0]
    heads = load_file(out / branch / "heads.safetensors")
    inputs = {"vision": torch.from_numpy(pixels), "text": torch.from_numpy(ids).long()}
    wanted = {
        "vision": ours.encode_pixels(pixels, "object"),
        "text": ours.encode_ids(ids, "object"),
    }
    for modality, kind in (("vision", CLIPVisionModel), ("text", CLIPTextModel)):
        tower, report = kind.from_pretrained(out / branch / modality, output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        name = {"vision": "image", "text": "text"}[modality]
        with torch.no_grad():
            x = tower.eval()(inputs[modality]).pooler_output
            x = x @ heads[f"{name}_projection.weight"].T + heads[f"{name}_projection.bias"]
            norm = heads[f"{name}_norm.weight"], heads[f"{name}_norm.bias"]
            x = torch.nn.functional.layer_norm(x, x.shape[-1:], *norm)
        np.testing.assert_allclose(x.numpy(), wanted[modality], atol=1e-5)
    tokens = AutoTokenizer.from_pretrained(out / branch)(helpers.TEXTS[0])["input_ids"]
    assert tokens == ours.tokenizer.encode([helpers.TEXTS[0]], 20)[0][0][: len(tokens)].tolist()
    # And back in: a branch is a model that every level can start from.
    again = open_plain_clip(str(out / branch))
    np.testing.assert_array_equal(
        again.weights["vision.post_layernorm.weight"],
        ours.params[f"vision/trunk/{branch}/post_norm/scale"],
    )


def test_model_card_and_its_example(trained, tmp_path, monkeypatch, capsys):
    source, _, _ = trained("scenario_clip_1")
    out = to_folder(source, tmp_path / "out", "--weights=ema")
    card = (out / "README.md").read_text()
    assert "the ema's of training step 5" in card
    assert "12 (global), 6 (object), 9 (relation)" in card
    assert "32 x 32 pixels" in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    pytest.importorskip("torch")
    monkeypatch.chdir(out)
    exec(code, {})
    assert "tensor([" in capsys.readouterr().out


def test_a_failure_leaves_nothing_behind(trained, tmp_path, monkeypatch):
    source, _, _ = trained("scenario_clip_0")

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(to_pytorch, "write_processor", fail)  # after the weights
    with pytest.raises(SystemExit, match="No space left"):
        to_folder(source, tmp_path / "deep" / "out")
    assert list((tmp_path / "deep").iterdir()) == []
    monkeypatch.undo()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").touch()
    with pytest.raises(SystemExit, match="exists already; remove it or choose another --output"):
        to_folder(source, tmp_path / "there")
    # What a killed process left is no obstacle.
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "half").touch()
    assert not (to_folder(source, tmp_path / "out") / "half").exists()


def test_stems_that_were_fine_tuned_apart(trained, tmp_path):
    """A shared stem is written for every level; changed for one only, it can't be shared again."""
    source, params, _ = trained("scenario_clip_0", share_stem=True)
    out = to_folder(source, tmp_path / "out")
    arrays = load_file(out / "model.safetensors")
    arrays["object_visual_encoder.vision_model.embeddings.class_embedding"] += 1
    save_file(arrays, out / "model.safetensors", {"format": "pt"})
    with pytest.raises(checkpoint.CheckpointError, match="Set share_stem to false in this file"):
        load(out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"share_stem": False}))
    found = exported.read(out)[1]["vision/stem/object/cls"]
    np.testing.assert_array_equal(found, params["vision/stem/shared/cls"] + 1)


def test_wrong_sources(trained, tmp_path):
    def message(*args):
        with pytest.raises(SystemExit) as raised:
            to_folder(*args)
        return str(raised.value)

    assert "no model.json" in message(tmp_path, tmp_path / "out")
    source, _, _ = trained("scenario_clip_0")
    assert "holds no ema weights; use --weights student" in message(
        source, tmp_path / "out", "--weights=ema"
    )
    assert "no checkpoint of step 9" in message(source, tmp_path / "out", "--step=9")
    clip, _, _ = trained("clip")
    pytest.importorskip("torch")
    assert "arch is 'clip'" in message(clip, tmp_path / "out", "--layout=reference")


def test_damaged_folders(trained, tmp_path):
    source, _, _ = trained("scenario_clip_0")
    out = to_folder(source, tmp_path / "out")
    weights = out / "model.safetensors"
    whole = weights.read_bytes()
    for size in (len(whole) - 7, 100, 0):
        weights.write_bytes(whole[:size])
        with pytest.raises(
            checkpoint.CheckpointError, match=rf"complete safetensors file, {size} bytes"
        ):
            load(out)
    weights.write_bytes(whole)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"arch": "pyramid_clip"}))
    with pytest.raises(
        checkpoint.CheckpointError, match=r"(?s)missing .*visual_encoder.*unexpected"
    ):
        load(out)
    (out / "config.json").write_text(json.dumps(config)[:-30])
    with pytest.raises(checkpoint.CheckpointError, match=r"config\.json: not a JSON object"):
        load(out)


def test_what_was_seen_in_training_is_known_of_folders_too(trained, tmp_path):
    folder = tmp_path / "trained"
    shutil.copytree(trained("clip")[0], folder)
    photo_digests.write(folder / photo_digests.OF_RUN, [5, 3])
    convert.main(["to-pytorch", f"--checkpoint={folder}", f"--output={tmp_path / 'out'}"])
    assert known_to(str(tmp_path / "out")).tolist() == [3, 5]
