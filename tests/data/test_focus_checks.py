"""Regions of other photos and copies of whole photos are noticed, whatever their ground, light and tones."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from scenarioclip_jax.data.build.focus import fit_focus

SIZE = (320, 240)
CAT, DOG, LAMP = (24, 40, 120, 150), (150, 90, 262, 210), (250, 16, 304, 80)
BLACK, GRAY, WHITE = ((level,) * 3 for level in (0, 128, 255))


def scene(seed: int, light: str = "day") -> Image.Image:
    """Three striped things before a smooth ground, or a white one; at night, a tenth as bright."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(30, 225, (6, 8, 3), np.uint8))
    found = coarse.resize(SIZE, Image.Resampling.BICUBIC)
    if light == "white":
        found.paste(WHITE, (0, 0, *SIZE))
    ramp = np.mgrid[: SIZE[1], : SIZE[0]]
    for box in (CAT, DOG, LAMP):
        angle = rng.uniform(0, np.pi)
        wave = np.sin((ramp[0] * np.cos(angle) + ramp[1] * np.sin(angle)) / rng.uniform(2, 5))
        striped = rng.integers(60, 190, 3) + wave[..., None] * rng.uniform(20, 60, 3)
        found.paste(Image.fromarray(striped.astype(np.uint8)), (0, 0), _drawn("ellipse", [box]))
    return found.point(lambda value: value // 10) if light == "night" else found


def _drawn(shape: str, boxes) -> Image.Image:
    mask = Image.new("L", SIZE)
    for x0, y0, x1, y1 in boxes:
        getattr(ImageDraw.Draw(mask), shape)((x0, y0, x1 - 1, y1 - 1), fill=255)
    return mask


def _saved(picture: Image.Image, quality: int = 85) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def _treated(photo: Image.Image, around: str) -> Image.Image:
    if around in ("black", "gray", "white"):
        return Image.new("RGB", photo.size, {"black": BLACK, "gray": GRAY, "white": WHITE}[around])
    if around == "blurred":
        return photo.filter(ImageFilter.GaussianBlur(6))
    if around == "dimmed":
        return photo.point(lambda value: int(value * 0.4))
    return photo.convert("L").convert("RGB")


def region(photo: Image.Image, around: str, shape: str = "rectangle", boxes=(CAT, DOG)):
    return Image.composite(photo, _treated(photo, around), _drawn(shape, boxes))


AROUND = ("black", "gray", "white", "blurred", "dimmed", "colorless")
LIGHTS = ("day", "night", "white")


@pytest.mark.slow
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("light", LIGHTS)
def test_regions_of_another_photo_are_noticed_and_right_ones_kept(light, around):
    for seed in range(3):
        photo, other = scene(seed, light), scene(seed + 10, light)
        for shape in ("rectangle", "ellipse"):
            for quality in (75, 92):
                wrong = _saved(region(other, around, shape), quality)
                assert fit_focus(photo, wrong, [(CAT, DOG)]).kind in ("unlike", "empty")
                right = _saved(region(photo, around, shape), quality)
                assert fit_focus(photo, right, [(CAT, DOG)]).kind in ("boxes", "mask", "image")


@pytest.mark.parametrize("light", LIGHTS)
def test_crops_of_another_photo_are_noticed_and_right_ones_kept(light):
    photo, other = scene(1, light), scene(11, light)
    union = (24, 40, 262, 210)
    for part in (union, CAT):
        wrong = _saved(other.crop(part))
        assert fit_focus(photo, wrong, [(CAT, DOG)]).kind == "unlike"
        right = _saved(photo.crop(part))
        fit = fit_focus(photo, right, [(CAT, DOG)])
        assert (fit.kind, fit.style) == ("image", "crop")
    large = photo.crop(union).resize((476, 340))
    assert fit_focus(photo, _saved(large), [(CAT, DOG)]).style == "crop"


def _curve(power: float):
    return lambda photo: photo.point(lambda value: round(255 * (value / 255) ** power))


def _trimmed(left: int, top: int, right: int, bottom: int, back: bool = True):
    def trim(photo):
        width, height = photo.size
        cut = photo.crop((left, top, width - right, height - bottom))
        return cut.resize(photo.size, Image.Resampling.BICUBIC) if back else cut

    return trim


def _shifted(across: int, down: int):
    def shift(photo):
        moved = photo.copy()
        moved.paste(photo, (across, down))
        return moved

    return shift


COPIES = {
    "gamma 0.6": _curve(0.6),
    "gamma 1.6": _curve(1.6),
    "brighter": lambda photo: photo.point(lambda value: value * 1.3),
    "darker": lambda photo: photo.point(lambda value: value * 0.6),
    "less contrast": lambda photo: ImageEnhance.Contrast(photo).enhance(0.5),
    "more contrast": lambda photo: ImageEnhance.Contrast(photo).enhance(1.5),
    "without color": lambda photo: photo.convert("L").convert("RGB"),
    "poor JPEG": lambda photo: _saved(photo, 20),
    "trimmed": _trimmed(4, 3, 4, 3),
    "trimmed at two sides": _trimmed(16, 12, 0, 0),
    "trimmed, another shape": _trimmed(18, 2, 10, 0, back=False),
    "shifted": _shifted(3, 2),
    "shifted further": _shifted(10, 4),
    "trimmed and darker": lambda photo: _curve(1.4)(_trimmed(8, 6, 8, 6)(photo)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("light", ["day", "white"])
def test_copies_of_the_whole_photo_are_noticed(light, name):
    for seed in range(3):
        photo = scene(seed, light)
        fit = fit_focus(photo, _saved(COPIES[name](photo)), [(CAT, DOG)])
        assert fit.kind == "photo"


@pytest.mark.parametrize("name", ["darker", "brighter", "less contrast", "trimmed", "shifted"])
def test_copies_of_a_night_photo_are_noticed(name):
    photo = scene(0, "night")
    assert fit_focus(photo, _saved(COPIES[name](photo), 92), [(CAT, DOG)]).kind == "photo"


@pytest.mark.parametrize("around", AROUND)
def test_without_boxes_regions_are_kept_and_copies_noticed(around):
    photo = scene(2)
    assert fit_focus(photo, _saved(region(photo, around)), []).kind in ("mask", "image")
    for name in ("gamma 0.6", "darker", "trimmed"):
        assert fit_focus(photo, _saved(COPIES[name](photo)), []).kind == "photo"


def test_gray_photos_are_compared_with_gray_and_colored_regions():
    """(Another comparison took two gray pictures for ones of three channels and ended the build.)"""
    photo, other = scene(3), scene(13)
    gray = photo.convert("L").convert("RGB")
    assert fit_focus(gray, _saved(COPIES["darker"](gray)), [(CAT, DOG)]).kind == "photo"
    assert fit_focus(gray, _saved(region(other, "blurred")), [(CAT, DOG)]).kind == "unlike"
    assert fit_focus(gray, _saved(region(photo, "blurred")), [(CAT, DOG)]).kind == "image"
