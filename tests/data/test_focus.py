"""The smallest form of a focused region, found whatever way it was cut and saved."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from scenarioclip_jax.data import masks
from scenarioclip_jax.data.focus import fit_focus
from tests.data.builder_inputs import focus_of

SIZE = (320, 240)
CAT, DOG, OTHER = (20, 30, 140, 200), (170, 60, 300, 220), (40, 10, 200, 90)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A picture with smooth parts, texture and darkness, as photos have them."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8))
    smooth = np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC), float)
    fine = Image.fromarray(rng.integers(0, 255, (120, 160, 3), np.uint8)).resize(SIZE)
    pixels = 0.8 * smooth + 0.2 * np.asarray(fine, float)
    pixels[:60] *= 0.1
    return Image.fromarray(pixels.astype(np.uint8))


def _saved(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def _ellipses(boxes=(CAT, DOG)) -> Image.Image:
    mask = Image.new("L", SIZE)
    for box in boxes:
        ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


def _cut(photo: Image.Image, mask: Image.Image, background: Image.Image) -> Image.Image:
    return Image.composite(photo, background, mask)


@pytest.mark.parametrize("quality", [75, 88, 95])
def test_boxes_are_recognised_through_jpeg_noise(photo, quality):
    fit = fit_focus(photo, _saved(focus_of(photo, (CAT, DOG)), quality), [(CAT, DOG)])
    assert (fit.kind, fit.pair, fit.mask) == ("boxes", 0, b"")
    assert fit.error < 8


@pytest.mark.parametrize("side", [7, 11, 18])
@pytest.mark.parametrize("quality", [80, 92])
def test_small_boxes_are_recognised_too(photo, side, quality):
    """Where little more than the ringing of a few JPEG blocks is left of a pair of things."""
    found = []
    for x, y in ((60, 90), (205, 131), (171, 222 - side)):
        pair = ((x, y, x + side, y + side), (x + 40, y - 9, x + 40 + side, y - 9 + side))
        fit = fit_focus(photo, _saved(focus_of(photo, pair), quality), [pair])
        found.append(fit.kind)
        aside = tuple((a + side // 2, b, c + side // 2, d) for a, b, c, d in pair)
        assert fit_focus(photo, _saved(focus_of(photo, pair), quality), [aside]).kind != "boxes"
    assert found == ["boxes"] * 3


@pytest.mark.parametrize("quality", [80, 95])
def test_masks_are_recovered(photo, quality):
    truth = np.asarray(_ellipses()) > 0
    fit = fit_focus(
        photo, _saved(_cut(photo, _ellipses(), Image.new("RGB", SIZE)), quality), [(CAT, DOG)]
    )
    assert fit.kind == "mask"
    mask, bright = masks.decode(fit.mask), np.asarray(photo.convert("L")) > 40
    assert mask.shape == SIZE[::-1]
    assert ((mask & truth).sum() / (mask | truth).sum()) > 0.93
    assert (mask == truth)[bright].mean() > 0.98
    assert len(fit.mask) < 3000
    assert fit.error < 8


def test_a_corner_missing_from_a_box_is_a_mask(photo):
    focus = focus_of(photo, (CAT, DOG))
    focus.paste(0, (170, 60, 220, 140))
    assert fit_focus(photo, _saved(focus, 90), [(CAT, DOG)]).kind == "mask"


@pytest.mark.parametrize("style", ["blurred", "dimmed", "grey", "white", "another photo"])
def test_what_no_mask_gives_is_kept_as_an_image(photo, style):
    background = {
        "blurred": photo.filter(ImageFilter.GaussianBlur(8)),
        "dimmed": photo.point(lambda value: value * 0.3),
        "grey": Image.new("RGB", SIZE, (128, 128, 128)),
        "white": Image.new("RGB", SIZE, "white"),
        "another photo": photo.transpose(Image.Transpose.ROTATE_180),
    }[style]
    fit = fit_focus(photo, _saved(_cut(photo, _ellipses(), background), 90), [(CAT, DOG)])
    assert (fit.kind, fit.mask) == ("image", b"")


def test_the_right_one_of_several_pairs_is_found(photo):
    pairs = [(OTHER, DOG), (CAT, OTHER), (CAT, DOG), (DOG, OTHER)]
    for number, pair in enumerate(pairs[:3]):
        fit = fit_focus(photo, _saved(focus_of(photo, pair), 88), pairs)
        assert (fit.kind, pairs[fit.pair]) == ("boxes", pairs[number])


def test_boxes_with_fractions_are_rounded(photo):
    boxes = [tuple(value + 0.4 for value in box) for box in (CAT, DOG)]
    assert fit_focus(photo, focus_of(photo, (CAT, DOG)), [tuple(boxes)]).kind == "boxes"


def test_boxes_a_pixel_off_are_boxes_still(photo):
    off = tuple(value + 1 for value in CAT)
    assert fit_focus(photo, focus_of(photo, (CAT, DOG)), [(off, DOG)]).kind == "boxes"


def test_without_boxes_there_is_a_mask_and_its_extent(photo):
    fit = fit_focus(photo, _saved(focus_of(photo, (CAT, DOG)), 95), [])
    assert (fit.kind, fit.pair) == ("mask", -1)
    np.testing.assert_allclose(fit.extent, (20, 60, 300, 220), atol=32)  # the dark band hides a bit


def test_another_size_of_the_same_shape_is_resized(photo):
    smooth = photo.filter(ImageFilter.GaussianBlur(3))  # resizing loses no detail of this one
    half = focus_of(smooth, (CAT, DOG)).resize((160, 120), Image.Resampling.LANCZOS)
    assert fit_focus(smooth, half, [(CAT, DOG)]).kind == "boxes"


def test_another_shape_is_an_image(photo):
    assert fit_focus(photo, photo.crop((0, 0, 100, 200)), [(CAT, DOG)]).kind == "image"


@pytest.mark.parametrize("speck", [0, 10])
def test_black_is_empty(photo, speck):
    assert fit_focus(photo, Image.new("RGB", SIZE, (speck,) * 3), [(CAT, DOG)]).kind == "empty"


@pytest.mark.parametrize("box", [(0, 0, 320, 240), (0, 0, 1, 1), (319, 239, 320, 240)])
def test_boxes_at_the_border_work(photo, box):
    assert fit_focus(photo, focus_of(photo, (box, DOG)), [(box, DOG)]).kind == "boxes"


def test_memory_is_a_few_bytes_a_pixel():
    """Large photos are compared by strips: 8 megapixels took 190 MB of arrays."""
    large = (
        Image.fromarray(np.arange(256, dtype=np.uint8)[None]).convert("RGB").resize((4000, 2000))
    )
    focus = Image.new("RGB", large.size)
    for box in ((400, 200, 1200, 1000), (2000, 800, 3200, 1800)):
        focus.paste(large.crop(box), box[:2])
    pairs = [((400, 200, 1200, 1000), (2000, 800, 3200, 1800)), ((0, 0, 50, 50), (9, 9, 99, 99))]
    tracemalloc.start()
    fit = fit_focus(large, focus, pairs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (fit.kind, fit.pair) == ("boxes", 0)
    assert peak < 10 * large.width * large.height
