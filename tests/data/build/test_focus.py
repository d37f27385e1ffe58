"""The smallest form of a focused region, found whatever way it was cut and saved."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from scenarioclip_jax.data.build.focus import fit_focus
from scenarioclip_jax.data.stored import masks
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
def test_boxes_are_recognized_through_jpeg_noise(photo, quality):
    fit = fit_focus(photo, _saved(focus_of(photo, (CAT, DOG)), quality), [(CAT, DOG)])
    assert (fit.kind, fit.pair, fit.mask) == ("boxes", 0, b"")
    assert fit.error < 8


@pytest.mark.parametrize("side", [7, 11, 18])
@pytest.mark.parametrize("quality", [80, 92])
def test_small_boxes_are_recognized_too(photo, side, quality):
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


@pytest.mark.parametrize("style", ["blurred", "dimmed", "plain", "white", "other"])
def test_what_no_mask_gives_is_kept_as_an_image(photo, style):
    background = {
        "blurred": photo.filter(ImageFilter.GaussianBlur(8)),
        "dimmed": photo.point(lambda value: value * 0.3),
        "plain": Image.new("RGB", SIZE, (128, 128, 128)),
        "white": Image.new("RGB", SIZE, "white"),
        "other": photo.transpose(Image.Transpose.ROTATE_180),
    }[style]
    fit = fit_focus(photo, _saved(_cut(photo, _ellipses(), background), 90), [(CAT, DOG)])
    assert (fit.kind, fit.mask, fit.style) == ("image", b"", style)


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


def test_a_part_of_the_photo_is_an_image(photo):
    for part in ((0, 0, 100, 200), (20, 30, 300, 220)):
        for cut in (photo.crop(part), focus_of(photo, (CAT, DOG)).crop(part)):
            fit = fit_focus(photo, _saved(cut, 85), [(CAT, DOG)])
            assert (fit.kind, fit.style) == ("image", "crop")
    scaled = photo.crop((20, 30, 300, 220)).resize((560, 380))
    assert fit_focus(photo, scaled, [(CAT, DOG)]).style == "crop"


def test_the_published_style_is_an_image(photo):
    """Inside, dimmed from each participant's center; outside, blurred."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    light = sum(
        np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 100**2))
        for cx, cy in ((80, 115), (235, 140))
    )
    dimmed = Image.fromarray((np.asarray(photo) * np.minimum(light, 1)[..., None]).astype(np.uint8))
    focus = _cut(dimmed, _ellipses(), photo.filter(ImageFilter.GaussianBlur(2)))
    fit = fit_focus(photo, _saved(focus, 90), [(CAT, OTHER), (CAT, DOG)])
    assert (fit.kind, fit.style, fit.pair) == ("image", "blurred", 1)


@pytest.mark.parametrize("quality", [40, 75, 95])
@pytest.mark.parametrize("size", [SIZE, (160, 120), (640, 480)])
def test_the_whole_photo_is_no_region(photo, quality, size):
    copy = _saved(photo.resize(size, Image.Resampling.LANCZOS), quality)
    for pairs in ([(CAT, DOG)], [(CAT, DOG), (OTHER, DOG)], []):
        assert fit_focus(photo, copy, pairs).kind == "photo"
    # (Boxes that cover it show it rightly.)
    whole = fit_focus(photo, copy, [((0, 0, *SIZE), DOG)])
    assert whole.kind == "boxes" or (quality, size) == (40, (160, 120))


@pytest.mark.parametrize("style", ["black", "white", "blurred", "whole", "another shape"])
def test_another_photo_is_noticed(photo, style):
    rng = np.random.default_rng(9)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 14, 3), np.uint8))
    other = coarse.resize(SIZE, Image.Resampling.BICUBIC)
    around = {
        "black": Image.new("RGB", SIZE),
        "white": Image.new("RGB", SIZE, "white"),
        "blurred": other.filter(ImageFilter.GaussianBlur(2)),
        "whole": other,
        "another shape": other,
    }[style]
    focus = _cut(other, _ellipses(), around)
    if style == "another shape":
        focus = focus.crop((0, 0, 130, 200))
    fit = fit_focus(photo, _saved(focus, 85), [(CAT, DOG)])
    assert fit.kind == "unlike"


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("light", [0.5, 0.1, 0.05])
def test_a_region_of_a_dark_photo_is_found(photo, light, quality):
    night = photo.point(lambda value: int(value * light))
    pairs = [(OTHER, CAT), (CAT, DOG), (OTHER, DOG)]
    for number, pair in enumerate(pairs):
        fit = fit_focus(night, _saved(focus_of(night, pair), quality), pairs)
        assert (fit.kind, fit.pair) == ("boxes", number)
    black = Image.new("RGB", SIZE)
    assert fit_focus(night, _saved(_cut(night, _ellipses(), black), 95), pairs).kind == "mask"
    noise = np.random.default_rng(0).integers(0, 10, (SIZE[1], SIZE[0], 3), np.uint8)
    for empty in (black, Image.fromarray(noise)):
        assert fit_focus(photo, empty, pairs).kind == "empty"
    assert fit_focus(night, black, pairs).kind == "empty"


@pytest.mark.parametrize("side", [4, 12, 25])
def test_tiny_regions_of_large_photos_are_found(side):
    y, x = np.mgrid[:1500, :2000]
    pixels = np.stack([60 + x % 97, 70 + y % 89, 90 + (x + y) % 50], -1).astype(np.uint8)
    large = Image.fromarray(pixels)

    def box(x, y):
        return (x, y, x + side, y + side)

    pairs = [(box(100, 100), box(130, 100)), (box(1500, 1000), box(130, 100))]
    for number, pair in enumerate(pairs):
        fit = fit_focus(large, focus_of(large, pair), pairs)
        assert (fit.kind, fit.pair) == ("boxes", number)
    assert fit_focus(large, focus_of(large, pairs[1]), []).kind in ("mask", "image")


@pytest.mark.parametrize("speck", [0, 10])
def test_black_is_empty(photo, speck):
    assert fit_focus(photo, Image.new("RGB", SIZE, (speck,) * 3), [(CAT, DOG)]).kind == "empty"


@pytest.mark.parametrize("color", [(128, 128, 128), (255, 255, 255), (30, 90, 200)])
@pytest.mark.parametrize("size", [SIZE, (224, 224), (1, 1)])
def test_a_placeholder_of_one_color_is_empty(photo, color, size):
    placeholder = Image.new("RGB", size, color)
    assert fit_focus(photo, placeholder, [(CAT, DOG)]).kind == "empty"
    assert fit_focus(photo, _saved(placeholder, 60), [(CAT, DOG)]).kind == "empty"


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
