"""Models that pool objects and relations from whole photos, in PyTorch: the same numbers as here."""

import io

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax import checkpoint, convert, load
from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.interop import exported, initial
from scenarioclip_jax.interop.plain_clip import open_plain_clip
from tests.interop import helpers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ARCHITECTURES = ("pyramid_clip", "scenario_clip_0", "scenario_clip_1", "scenario_clip_shared")
LENGTHS = {"global": 12, "object": 6, "relation": 9}
OBJECTS = [[3, 4, 40.5, 30], [0, 0, 67, 45], [30, 11, 31, 40], [60.2, 40, 66, 44]]
PAIRS = [[OBJECTS[0], OBJECTS[1]], [OBJECTS[3], OBJECTS[2]], [OBJECTS[2], OBJECTS[2]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes (and keeps) our checkpoint and its folder for PyTorch, by architecture and fit."""
    kept = {}
    clip = open_plain_clip(str(helpers.write_clip(tmp_path_factory.mktemp("clip") / "model")))

    def make(arch, fit="centre_crop", share_stem=False, parts=2):
        key = arch, fit, share_stem, parts
        if key not in kept:
            root = tmp_path_factory.mktemp("pooled")
            model = initial.arguments_from_clip(
                clip, arch=arch, embed_dim=40, share_stem=share_stem
            )
            model |= {"regions": "pooled", "object_parts": parts, "ends_as_objects": parts > 1}
            rng = np.random.default_rng(7)
            params = {
                path: (value + 0.1 * rng.standard_normal(value.shape)).astype(np.float32)
                for path, value in initial.from_clip(clip, model).items()
            }
            (root / "ours").mkdir()
            helpers.tokenizer().save(root / "ours")
            spec = ModelSpec(model, LENGTHS, fit)
            checkpoint.save_model(root / "ours", spec, params, step=5)
            convert.main(
                ["to-pytorch", f"--checkpoint={root / 'ours'}", f"--output={root / 'out'}"]
            )
            kept[key] = root / "ours", root / "out", params
        return kept[key]

    return make


def opened(folder):
    model, report = transformers.AutoModel.from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    return model.eval(), processor


def photo(height=45, width=67, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("share_stem", [False, True])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_round_trip_is_bit_identical(made, arch, share_stem):
    ours, out, params = made(arch, share_stem=share_stem)
    spec, back, _ = exported.read(out)
    helpers.assert_same(back, params)
    assert spec.model["regions"] == "pooled"
    assert spec.model["arch"] == arch
    assert ModelSpec.read(ours).lengths == spec.lengths


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "fit", "parts"),
    [
        ("pyramid_clip", "centre_crop", 1),
        ("scenario_clip_0", "contain", 2),
        ("scenario_clip_1", "squash", 3),
        ("scenario_clip_shared", "centre_crop", 2),
    ],
)
def test_objects_relations_scenes_and_texts_are_the_same(made, arch, fit, parts):
    source, out, _ = made(arch, fit, parts=parts)
    ours, (theirs, processor) = load(source), opened(out)
    picture = photo()
    wanted = {
        "object": ours.encode_objects(picture, OBJECTS),
        "relation": ours.encode_relations(picture, PAIRS),
    }
    for level, boxes in (("object", OBJECTS), ("relation", PAIRS)):
        inputs = processor(images=picture, boxes=boxes, text=helpers.TEXTS, level=level)
        with torch.no_grad():
            found = theirs.encode_image(inputs["pixel_values"], level, inputs["boxes"])
            text = theirs.encode_text(inputs["input_ids"], level)
            both = theirs(**inputs, level=level)
        np.testing.assert_allclose(found[0].numpy(), wanted[level], atol=1e-5)
        np.testing.assert_allclose(text.numpy(), ours.encode_text(helpers.TEXTS, level), atol=1e-5)
        np.testing.assert_array_equal(both.image_embeds, found[0])
        assert both.logits_per_image.shape == (len(boxes), len(helpers.TEXTS))
        # A picture that is all object, as a notebook would give it.
        with torch.no_grad():
            whole = theirs.encode_image(inputs["pixel_values"], level)
        np.testing.assert_allclose(whole.numpy(), ours.encode_image(picture, level), atol=1e-5)
    with torch.no_grad():
        whole = theirs.encode_image(processor(images=picture)["pixel_values"], "global")
    np.testing.assert_allclose(whole.numpy(), ours.encode_image(picture, "global"), atol=1e-5)
    # Boxes that differ are told apart, so that agreement means something.
    assert not np.allclose(wanted["object"][0], wanted["object"][1], atol=1e-2)


def test_the_order_of_a_pair_means_nothing(made):
    theirs, processor = opened(made("scenario_clip_0")[1])
    turned = [pair[::-1] for pair in PAIRS]
    with torch.no_grad():
        found = [
            theirs.encode_image(
                **processor(images=photo(), boxes=boxes, level="relation"), level="relation"
            )
            for boxes in (PAIRS, turned)
        ]
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_several_photos_have_boxes_each(made):
    """Also photos that are stored on their side, whose boxes are those of the upright photo."""
    source, out, _ = made("scenario_clip_0")
    ours, (theirs, processor) = load(source), opened(out)
    stored = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo(80, 50, seed=3)).save(stored, "PNG", exif=exif)
    pictures = [photo(), stored.getvalue()]  # 67 x 45 and, upright, 80 x 50
    boxes = [OBJECTS[:2], [[50, 20, 79, 49], [1, 1, 20, 20]]]
    inputs = processor(images=pictures, boxes=boxes, level="object")
    assert inputs["boxes"].shape == (2, 2, 1, 4)
    with torch.no_grad():
        found = theirs.encode_image(**inputs, level="object").numpy()
    for picture, of_picture, each in zip(pictures, boxes, found, strict=True):
        wanted = ours.encode_objects(picture, of_picture)
        np.testing.assert_allclose(each, wanted, atol=1e-5)


def test_wrong_boxes_are_refused(made, tmp_path):
    theirs, processor = opened(made("scenario_clip_0")[1])
    for boxes, message in (
        ([[1, 2, 3]], r"boxes are \[1, 3\]; expected \[N, 4\]"),
        ([[5, 5, 5, 9]], r"box 0 is .* must have x0 < x1"),
        ([[90, 2, 99, 9]], r"meet the photo of 67 x 45 pixels"),
        (5, "boxes must be a list with those of each of 1 images"),
        ([OBJECTS, OBJECTS], r"boxes are \[2, 4, 4\]; expected \[N, 4\]"),
        ([], "boxes must be a list with those of each of 1 images"),
    ):
        with pytest.raises(ValueError, match=message):
            processor(images=photo(), boxes=boxes, level="object")
    with pytest.raises(ValueError, match=r"the images have \[4, 1\] boxes; give the same number"):
        processor(images=[photo(), photo()], boxes=[OBJECTS, OBJECTS[:1]], level="object")
    with pytest.raises(ValueError, match="boxes are of the level 'object' or 'relation'"):
        processor(images=photo(), boxes=OBJECTS)
    with pytest.raises(ValueError, match="boxes need the images that they are in"):
        processor(text="ok", boxes=OBJECTS, level="object")
    inputs = processor(images=photo(), boxes=OBJECTS, level="object")
    with pytest.raises(ValueError, match=r"boxes are \(1, 4, 1, 4\); expected \[1, M, 2, 4\]"):
        theirs.encode_image(**inputs, level="relation")
    with pytest.raises(ValueError, match="boxes are of the level"):
        theirs.encode_image(**inputs)
    with pytest.raises(ValueError, match=r"boxes are \[4, 4\]; expected \[N, 2, 4\]"):
        processor(images=photo(), boxes=OBJECTS, level="relation")
    pixels = torch.tensor(OBJECTS)[None, :, None]
    for wrong in (pixels, torch.full_like(pixels, torch.nan)):
        with pytest.raises(ValueError, match="boxes aren't shares of the view, from 0 to 1"):
            theirs.encode_image(inputs["pixel_values"], "object", wrong)
    with pytest.raises(TypeError, match=r"boxes is a list.*processor\(images=\.\.\., boxes="):
        theirs.encode_image(inputs["pixel_values"], "object", OBJECTS)


@pytest.mark.parametrize("layout", ["reference", "huggingface-towers"])
def test_layouts_of_plain_towers_are_refused(made, tmp_path, layout):
    source, *_ = made("scenario_clip_0")
    with pytest.raises(SystemExit, match=rf"regions is pooled, .* leave out --layout {layout}"):
        convert.main(
            [
                "to-pytorch",
                f"--checkpoint={source}",
                f"--output={tmp_path / 'out'}",
                f"--layout={layout}",
            ]
        )
    assert not (tmp_path / "out").exists()


def test_the_card_says_how_to_ask_for_boxes_and_its_example_runs(
    made, tmp_path, monkeypatch, capsys
):
    _, out, _ = made("scenario_clip_0")
    card = (out / "README.md").read_text()
    assert "black outside" not in card
    code = card.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(out)
    exec(code, {})
    assert "tensor" in capsys.readouterr().out
    assert "boxes=" in code


def test_it_trains_and_can_be_saved_again(made, tmp_path):
    """A gradient reaches all that objects go through; what is saved opens in JAX."""
    theirs, processor = opened(made("scenario_clip_shared")[1])
    inputs = processor(images=photo(), boxes=OBJECTS, text=helpers.TEXTS, level="object")
    theirs(**inputs, level="object", return_loss=True).loss.backward()
    reached = {name for name, p in theirs.named_parameters() if p.grad is not None and p.grad.any()}
    for name in ("regions.pool.object.score.weight", "text_level_object", "object_text_norm.bias"):
        assert name in reached
    assert "text_level_relation" not in reached
    theirs.save_pretrained(tmp_path / "again")
    processor.save_pretrained(tmp_path / "again")
    again = load(tmp_path / "again")
    with torch.no_grad():
        wanted = theirs.encode_image(inputs["pixel_values"], "object", inputs["boxes"])[0]
    np.testing.assert_allclose(again.encode_objects(photo(), OBJECTS), wanted, atol=1e-5)


class Tower(torch.nn.Module):
    def __init__(self, model, level):
        super().__init__()
        self.model, self.level = model, level

    def forward(self, pixels, boxes, ids):
        image = self.model.encode_image(pixels, self.level, boxes)
        return image, self.model.encode_text(ids, self.level)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "level"),
    [
        ("scenario_clip_0", "relation"),  # whose boxes are pairs
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("scenario_clip_0", "object"),
                ("scenario_clip_shared", "object"),
                ("scenario_clip_shared", "relation"),
            )
        ),
    ],
)
# Tracing is deprecated, but used.
@pytest.mark.filterwarnings("ignore")
def test_recorded_models_take_other_batches(made, arch, level):
    theirs, processor = opened(made(arch)[1])
    boxes = {"object": OBJECTS, "relation": PAIRS}[level]
    inputs = processor(images=photo(), boxes=boxes, text=helpers.TEXTS, level=level)
    given = inputs["pixel_values"], inputs["boxes"], inputs["input_ids"]
    tower = Tower(theirs, level)
    two = given[0].repeat(2, 1, 1, 1), given[1][:, :2].repeat(2, 1, 1, 1), given[2][:1]
    with torch.no_grad():
        traced = torch.jit.trace(tower, two)
        exported_program = torch.export.export(tower, given).module()
        for found, wanted in (
            (traced(*given), tower(*given)),
            (exported_program(*given), tower(*given)),
        ):
            for one, other in zip(found, wanted, strict=True):
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_half_precision_does_not_overflow(made):
    """Sums of weights up to e^10 go beyond float16, which autocast would take for them."""
    theirs, processor = opened(made("scenario_clip_1")[1])
    theirs.regions.pool["object"].score.bias.data.fill_(30.0)
    inputs = processor(images=photo(), boxes=OBJECTS, level="object")
    with torch.no_grad():
        wanted = theirs.encode_image(inputs["pixel_values"], "object", inputs["boxes"])
        with torch.autocast("cpu", torch.float16):
            found = theirs.encode_image(inputs["pixel_values"], "object", inputs["boxes"])
    assert torch.cosine_similarity(found.float(), wanted, dim=-1).min() > 0.999


def test_boxes_are_tensors_too(made):
    _, processor = opened(made("pyramid_clip")[1])
    plain = processor(images=photo(), boxes=OBJECTS, level="object")["boxes"]
    for kind in (torch.float32, torch.bfloat16):
        given = torch.tensor(OBJECTS, dtype=kind, requires_grad=True)
        found = processor(images=photo(), boxes=given, level="object")["boxes"]
        torch.testing.assert_close(found, plain, atol=0.05, rtol=0)
