"""Damaged picture files that decoders pass over: what is noticed, and that right ones are left in peace."""

import io
import re
import warnings

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageFile

from scenarioclip_jax.data import damage, images, jpeg_files
from tests.data.builder_inputs import photo
from tests.data.test_images import encoded

WIDE, HIGH = 640, 480
# Smooth color with texture, as a photo has it.
RNG = np.random.default_rng(0)
SOFT = Image.fromarray(RNG.integers(60, 190, (9, 12, 3), np.uint8)).resize((WIDE, HIGH), 3)
GRAINED = Image.fromarray(
    np.clip(np.asarray(SOFT, int) + RNG.normal(0, 9, (HIGH, WIDE, 1)), 0, 255).astype(np.uint8)
)
LAYOUTS = {
    "halved color": {"subsampling": 2, "quality": 85},
    "halved along": {"subsampling": 1, "quality": 90},
    "whole color": {"subsampling": 0, "quality": 95},
    "progressive": {"subsampling": 2, "quality": 80, "progressive": True},
}


def shifted(
    picture: Image.Image, unit: tuple[int, int], row: int, column: int, jump
) -> Image.Image:
    """A picture whose colors are off from a unit of a JPEG on, to the end, as when one mean was wrong."""
    pixels = np.asarray(picture, int)
    rows, columns = np.indices(pixels.shape[:2])
    after = (rows // unit[1] > row) | ((rows // unit[1] == row) & (columns // unit[0] >= column))
    return Image.fromarray(np.clip(pixels + after[..., None] * jump, 0, 255).astype(np.uint8))


UNITS = {
    "halved color": (16, 16),
    "halved along": (16, 8),
    "whole color": (8, 8),
    "progressive": (16, 16),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("jump", [(40, 40, 40), (-30, 5, 60), (0, -90, 30)])
def test_a_jump_to_the_end_is_pointed_out(layout, jump):
    options, unit = LAYOUTS[layout], UNITS[layout]
    for row, column in ((3, 12), (14, 20), (25, 27)):
        content = encoded(shifted(GRAINED, unit, row, column, jump), "JPEG", **options)
        found = jpeg_files.examine(content)
        assert not found.damage
        assert f"from row {row * unit[1]} on" in found.doubt


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_real_damage_is_pointed_out(layout):
    """A wrong byte in the data, where nothing else tells: of all such, only what shows has to be noticed."""
    good = encoded(GRAINED, "JPEG", **LAYOUTS[layout])
    start = good.index(b"\xff\xda") + 14
    was, rng = np.asarray(images.to_rgb(good), int), np.random.default_rng(1)
    visible = noticed = 0
    for _ in range(60):
        at = int(rng.integers(start + (len(good) - start) // 8, len(good) * 3 // 4))
        content = good[:at] + rng.bytes(20) + good[at + 20 :]
        try:
            off = np.abs(np.asarray(images.to_rgb(content), int) - was).max(axis=2) > 20
        except images.ImageFileError:
            continue
        if off.mean() > 0.1:
            visible += 1
            noticed += any(jpeg_files.examine(content))
    assert visible > 10 or layout == "progressive"
    assert noticed >= 0.75 * visible


def documents():
    """Pictures with sharp edges along the blocks: what a jump must not be mistaken for."""
    page = Image.new("RGB", (WIDE, HIGH), "white")
    for top in range(16, HIGH, 32):
        page.paste((20, 20, 20), (40, top, WIDE - 40 - 7 * top % 200, top + 9))
    yield "page", page
    half = page.copy()
    half.paste((0, 0, 0), (0, HIGH // 2, WIDE, HIGH))
    yield "black lower half", half
    tabs = Image.new("RGB", (WIDE, HIGH), (40, 44, 52))
    tabs.paste((220, 220, 220), (0, 0, WIDE, 32))
    tabs.paste((220, 220, 220), (0, 32, 192, 48))  # a tab: a stair of one step
    yield "tabs", tabs
    horizon = GRAINED.copy()
    horizon.paste((120, 160, 230), (0, 0, WIDE, 240))
    yield "horizon", horizon
    captioned = np.asarray(GRAINED).copy()
    captioned[400:] = captioned[400:] // 3
    yield "caption", Image.fromarray(captioned)
    boxed = GRAINED.copy()
    boxed.paste((0, 0, 0), (0, 0, WIDE, 64))
    boxed.paste((0, 0, 0), (0, 416, WIDE, HIGH))
    yield "bars", boxed
    yield "photo", photo().resize((WIDE, HIGH), 3)
    yield "texture", GRAINED
    yield "smooth", SOFT
    yield "plain", Image.new("RGB", (WIDE, HIGH), (90, 120, 200))
    yield (
        "checked",
        Image.fromarray(
            np.kron(np.indices((60, 80)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8) * 200
        ).convert("RGB"),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "picture"), documents())
def test_right_pictures_are_left_in_peace(name, picture):
    for options in LAYOUTS.values():
        for quality in (30, 75, 95):
            for extra in ({}, {"restart_marker_rows": 1}, {"optimize": True}):
                content = encoded(picture, "JPEG", **options | {"quality": quality} | extra)
                assert jpeg_files.examine(content) == ("", ""), (name, options, quality, extra)
    gray = encoded(picture.convert("L"), "JPEG")
    assert jpeg_files.examine(gray) == ("", "")
    for format, options in OTHERS.values():
        assert damage.examine(encoded(picture, format, **options)) == ("", ""), (name, format)


def test_data_that_no_block_is_left_for_are_no_padding():
    """libjpeg reads ahead, so it tells of fewer bytes than there are; up to four may be a camera's filling."""
    good, few = encoded(GRAINED, "JPEG"), 0
    for count in range(1, 24):
        for filling in (b"\0", b"\x5a"):
            content = good[:-2] + count * filling + good[-2:]
            try:
                simplejpeg.decode_jpeg(content, strict=True)
            except ValueError as error:
                told = int(re.search(r"(\d+) extraneous", str(error))[1])
                few += told <= 4
                assert bool(jpeg_files.examine(content).damage) == (told > 4 or filling != b"\0")
    assert few


OTHERS = {
    "PNG": ("PNG", {}),
    "TIFF, JPEG": ("TIFF", {"compression": "jpeg", "quality": 85}),
    "TIFF, deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "TIFF, LZW": ("TIFF", {"compression": "tiff_lzw"}),
    "WebP": ("WEBP", {"quality": 80}),
    "WebP, lossless": ("WEBP", {"lossless": True, "method": 0}),
    "AVIF": ("AVIF", {"quality": 60, "speed": 10}),
    "GIF": ("GIF", {}),
}


@pytest.mark.parametrize("name", ["PNG", "TIFF, JPEG", "TIFF, deflate"])
def test_wrong_bytes_are_found_where_a_format_allows(name):
    format, options = OTHERS[name]
    good, rng = encoded(GRAINED, format, **options), np.random.default_rng(2)
    silent = found = 0
    for _ in range(30):
        at = int(rng.integers(len(good) // 10, len(good) - 300))
        content = good[:at] + rng.bytes(200) + good[at + 200 :]
        try:
            images.to_rgb(content)
        except images.ImageFileError:
            continue
        silent += 1
        found += bool(damage.examine(content).damage)
    assert silent > 3 or name == "PNG"
    assert found >= 0.9 * silent


def test_a_png_whose_end_is_zeros():
    """Pillow stops reading when it has all rows it wants, and compares no sums."""
    good, silent = encoded(Image.new("RGB", (WIDE, HIGH), "red")), 0
    for count in range(13, len(good) - 60, 5):
        content = good[: len(good) - count] + bytes(count)
        try:
            images.to_rgb(content)
        except images.ImageFileError:
            continue
        silent += 1
        assert "checksum of the IDAT chunk" in damage.examine(content).damage
    assert silent


@pytest.mark.parametrize("name", ["WebP", "AVIF"])
def test_an_end_of_zeros_is_pointed_out(name):
    format, options = OTHERS[name]
    good = encoded(GRAINED, format, **options)
    content = good[: len(good) * 3 // 4] + bytes(len(good) - len(good) * 3 // 4)
    assert images.to_rgb(content)  # the decoder doesn't mind
    assert "bytes are zero" in damage.examine(content).doubt


def test_plain_webp_pictures_end_in_zeros_by_themselves():
    for size in ((64, 64), (3000, 3000)):
        content = encoded(Image.new("RGB", size), "WEBP", quality=80)
        assert damage.examine(content) == ("", "")


def test_a_warning_names_the_file_and_the_cause_once(tmp_path):
    good = encoded(GRAINED, "JPEG", comment=b"once")
    path = tmp_path / "a.jpg"
    path.write_bytes(good[: len(good) // 2] + b"\xff\xd9")
    with pytest.warns(damage.DamagedImageWarning, match=r"a\.jpg: .*premature end.*download it"):
        found = damage.open_checked(path)
    np.testing.assert_array_equal(np.asarray(found.picture), np.asarray(images.to_rgb(path)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        damage.open_checked(path)
        damage.open_checked(np.asarray(found.picture))
        damage.open_checked(io.BytesIO(good))
        damage.open_checked(Image.open(io.BytesIO(good)))
        damage.open_checked(Image.new("RGB", (9, 9)))
    other = tmp_path / "b.jpg"
    other.write_bytes(path.read_bytes())
    lazy = Image.open(other)
    with pytest.warns(damage.DamagedImageWarning, match=r"b\.jpg"):
        damage.open_checked(lazy)


def test_another_librarys_wish_for_half_pictures_is_set_aside():
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        for format in ("PNG", "JPEG"):
            content = encoded(GRAINED, format)
            with pytest.raises(images.ImageFileError, match="cut short"):
                images.to_rgb(content[: len(content) // 2])
        assert ImageFile.LOAD_TRUNCATED_IMAGES
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    images.to_rgb(encoded(GRAINED))
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
