"""Pictures of more than 8 bits: one rule finds what is black and white, in gray and color, and of alpha."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scenarioclip_jax.data import image_range, images
from tests.data.test_images import GRAY, RGB, encoded, gray_tiff, png, tiff

ALPHA = np.where(np.arange(RGB.shape[1]) < 30, 85, 255)[None].repeat(RGB.shape[0], 0)
WHITE = 255


def deep(values: np.ndarray, bits: int) -> np.ndarray:
    """Values of 8 bits as ones of `bits`, 255 as the largest."""
    return np.rint(values.astype(float) * (2**bits - 1) / 255).astype(int)


def shown(source) -> np.ndarray:
    return np.asarray(images.to_rgb(source), int)


def on_white(colors: np.ndarray) -> np.ndarray:
    share = ALPHA[..., None] / 255
    return np.rint(colors * share + WHITE * (1 - share)).astype(int)


def gray(values) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


GRAY_FULL = np.where(GRAY == GRAY.max(), 255, GRAY)  # holds a white pixel, as each depth's largest
RGB_FULL = np.where(RGB == RGB.max(), 255, RGB)


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("alpha_bits", [8, 12, 13, 16])
def test_every_depth_in_every_layout(bits, alpha_bits):
    """Colors by their own range, alpha by its own."""
    one, three, alpha = deep(GRAY_FULL, bits), deep(RGB_FULL, bits), deep(ALPHA, alpha_bits)
    cases = {
        "gray": (png(one, 16, 0), gray(GRAY_FULL)),
        "gray TIFF": (encoded(Image.fromarray(one.astype(np.uint16)), "TIFF"), gray(GRAY_FULL)),
        "gray and alpha": (png(np.dstack([one, alpha]), 16, 4), on_white(gray(GRAY_FULL))),
        "RGB": (png(three, 16, 2), RGB_FULL),
        "RGB TIFF": (tiff(three, "<"), RGB_FULL),
        "RGBA": (png(np.dstack([three, alpha]), 16, 6), on_white(RGB_FULL)),
        "RGBA TIFF": (tiff(np.dstack([three, alpha]), ">"), on_white(RGB_FULL)),
    }
    for name, (content, wanted) in cases.items():
        opened = images.open_image(content)
        assert np.abs(np.asarray(opened.picture, int) - wanted).max() <= 2, name
        assert opened.levels == (0, 2**bits - 1), name


def test_declared_bits_count_for_colors_and_alpha():
    half = deep(RGB_FULL, 12) // 2
    content = png(np.dstack([half, deep(ALPHA, 12)]), 16, 6, (b"sBIT", b"\x0c\x0c\x0c\x0c"))
    assert np.abs(shown(content) - on_white(RGB_FULL // 2)).max() <= 2
    faint = np.full_like(ALPHA, 1 << 10)  # a quarter of 12 bits
    content = png(np.dstack([deep(GRAY_FULL, 12), faint]), 16, 4, (b"sBIT", b"\x0c\x0c"))
    assert np.abs(shown(content) - (0.25 * gray(GRAY_FULL) + 0.75 * WHITE)).max() <= 2


@pytest.mark.parametrize("hot", [0, 1])
def test_hot_and_dead_pixels_leave_the_rest_as_it_is(hot):
    def spoilt(values, value):
        values = values.copy()
        values[3 : 3 + hot, 5] = value
        return values

    part = np.arange(RGB.shape[0]) > 5
    floats = (GRAY_FULL / 255).astype(np.float32)
    sources = {
        "floats": Image.fromarray(spoilt(floats, 1e6)),
        "float TIFF": gray_tiff(spoilt(floats, 3e4), 3),
        "floats of 12 bits": Image.fromarray(spoilt(deep(GRAY_FULL, 12).astype(np.float32), 1e7)),
        "a dead pixel": Image.fromarray(spoilt(floats, -1e6)),
        "12 bits": png(spoilt(deep(GRAY_FULL, 12), 65535), 16, 0),
        "12 bits and alpha": png(
            np.dstack([spoilt(deep(GRAY_FULL, 12), 65535), np.full_like(ALPHA, 65535)]), 16, 4
        ),
        "colors of 12 bits": png(spoilt(gray(deep(GRAY_FULL, 12)), 65535), 16, 2),
        "int32": encoded(Image.fromarray(spoilt(GRAY_FULL.astype(np.int32), 2**30)), "TIFF"),
    }
    for name, source in sources.items():
        assert np.abs(shown(source) - gray(GRAY_FULL))[part].max() <= 2, name


def test_hot_pixels_are_several_if_they_lie_apart():
    """A sensor has more of them than one in 100,000; what is bright in a picture covers pixels side by side."""
    values = np.tile(np.linspace(0, 4095, 400), (300, 1)).astype(np.uint16)
    apart, together = values.copy(), values.copy()
    apart[7::60, 3::20] = 65535
    together[100:110, 100:110] = 65535
    assert (apart == 65535).sum() == (together == 65535).sum() == 100
    assert image_range.find_levels(apart) == (0, 4095)
    assert image_range.find_levels(together) == (0, 65535)
    many = values.copy()
    many[::2, ::8] = 65535  # apart, but no sensor is like this
    assert image_range.find_levels(many) == (0, 65535)
    holes = np.where(apart == 65535, 1e4, apart / 4095)
    holes[:, :9] = np.nan  # places without a value keep their place
    assert image_range.find_levels(holes, floats=True) == (0, 1)


def test_one_bright_star_is_no_reason_to_make_a_black_sky_white():
    sky = np.zeros((100, 100), np.uint16)
    sky[50, 50] = 65535
    assert images.open_image(Image.fromarray(sky)).levels == (0, 65535)


@given(st.integers(1, 2**31 - 1), st.integers(0, 9))
def test_the_range_holds_all_but_hot_pixels(high, hot):
    values = np.linspace(0, high, 5000).astype(np.int64)
    values[:hot] = 2**31 - 1
    black, white = image_range.find_levels(values)
    assert black == 0
    assert white >= high
    assert white < max(256, 2 * (high + 1)) or hot > 1  # two aren't one hot pixel of 5,000


def test_decoded_pictures_are_read_again_from_their_file(tmp_path):
    """Pillow has dropped the lower bits; its file still has them."""
    for bits in (8, 13):
        content = png(deep(RGB_FULL, bits), 16, 2)
        (tmp_path / "a.png").write_bytes(content)
        (tmp_path / "a.tiff").write_bytes(tiff(deep(RGB_FULL, bits), "<"))
        for source in (io.BytesIO(content), tmp_path / "a.png", tmp_path / "a.tiff"):
            picture = Image.open(source)
            picture.load()
            assert np.abs(shown(picture) - RGB_FULL).max() <= 2, (bits, source)


def test_colors_of_which_pillow_has_dropped_what_is_needed_are_refused(tmp_path):
    for name, content in (
        ("a.png", png(deep(RGB_FULL, 8), 16, 2)),
        ("b.png", png(np.dstack([deep(GRAY_FULL, 9), deep(ALPHA, 9)]), 16, 4)),
        ("a.tiff", tiff(deep(RGB_FULL, 8), "<")),
    ):
        (tmp_path / name).write_bytes(content)
        picture = Image.open(tmp_path / name)
        picture.load()
        other = png(deep(RGB, 16), 16, 2) if name.endswith("png") else tiff(deep(RGB, 16), "<")
        (tmp_path / name).write_bytes(other)  # another picture has its name now
        with pytest.raises(images.ImageFileError, match=rf"{name}.*16-bit colors.*Pass the file"):
            images.to_rgb(picture)


def test_a_decoded_picture_that_was_changed_keeps_the_change():
    picture = Image.open(io.BytesIO(png(deep(RGB, 16), 16, 2)))
    picture.load()
    picture.paste((9, 99, 199), (0, 0, 4, 4))
    assert (shown(picture)[:4, :4] == (9, 99, 199)).all()


def test_premultiplied_colors():
    """TIFF's extra sample 1: colors are stored multiplied by their alpha."""
    white = 2**12 - 1
    alpha = deep(ALPHA, 12)
    colors = np.rint(deep(RGB_FULL, 12) * (alpha / white)[..., None]).astype(int)
    content = tiff(np.dstack([colors, alpha]), "<", extra=1)
    assert "RGBa;16L" in str(Image.open(io.BytesIO(content)).tile)
    assert np.abs(shown(content) - on_white(RGB_FULL)).max() <= 2


@pytest.mark.parametrize("largest", [1.0, 255.0])
def test_a_float_map_is_read_by_its_own_range(tmp_path, largest):
    """Pillow calls PFM by the name of PPM, whose values are read by the largest that the file declares."""
    values = np.tile(np.linspace(0, largest, 80, dtype="<f4"), (60, 1))
    (tmp_path / "a.pfm").write_bytes(b"Pf\n80 60\n-1.0\n" + values.tobytes())
    found = np.asarray(images.to_rgb(tmp_path / "a.pfm"))[30, :, 0].astype(float)
    np.testing.assert_allclose(found, np.linspace(0, 255, 80), atol=1)


@pytest.mark.parametrize("missing", [-9999.0, -32768.0, -99999.0])
@pytest.mark.parametrize("kind", [np.float32, np.int16, np.int32])
def test_numbers_that_stand_for_missing_values_are_black(missing, kind):
    """Without a tag that says so: taken for the darkest value they would make all others white."""
    if missing < np.iinfo(np.int16).min and kind == np.int16:
        return
    values = np.tile(np.arange(64, dtype=kind) * 4, (48, 1))
    values[:12] = missing
    found = shown(gray_tiff(values, 3 if kind == np.float32 else 2))[..., 0]
    np.testing.assert_array_equal(found[:12], 0)
    np.testing.assert_allclose(found[12:], values[12:], atol=2)


def test_low_values_that_are_no_missing_ones_stay():
    """Heights below the sea reach as low without a gap; and other numbers aren't known to mean anything."""
    steady = np.linspace(-9999, 3000, 64 * 48, dtype=np.float32).reshape(48, 64)
    assert 180 < shown(gray_tiff(steady, 3))[36, 0, 0] < 200
    other = np.tile(np.arange(64, dtype=np.float32) * 4, (48, 1))
    other[:12] = -1000
    assert shown(gray_tiff(other, 3))[12:].min() > 190
