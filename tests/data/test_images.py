"""One function opens every picture: known answers for each kind, and properties of all of them."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from scenarioclip_jax.data import image_arrays, images, jpeg_files
from scenarioclip_jax.data.image_arrays import separate
from scenarioclip_jax.data.images import to_rgb
from tests.data.builder_inputs import photo

PHOTO = photo()
RGB = np.asarray(PHOTO)
GRAY = np.asarray(PHOTO.convert("L"))
LEFT = 30  # columns that are transparent in the pictures that have any


def encoded(picture: Image.Image, format: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def png(values: np.ndarray, depth: int, color: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand: Pillow writes neither 16-bit colors nor these chunks."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = values.shape[:2]
    if depth < 8:
        per_byte = 8 // depth
        values = sum(values[:, i::per_byte] << (8 - depth * (i + 1)) for i in range(per_byte))
    rows = values.astype(">u2" if depth == 16 else np.uint8)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def with_alpha(alpha: int = 0) -> Image.Image:
    picture = PHOTO.convert("RGBA")
    picture.putalpha(
        Image.fromarray(
            np.where(np.arange(120) < LEFT, alpha, 255)[None].repeat(80, 0).astype(np.uint8)
        )
    )
    return picture


def on_white(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.copy()
    pixels[:, :LEFT] = 255
    return pixels


def gray_rgb(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[:, :, None], 3, axis=2)


def keyed(values: np.ndarray, key: int) -> np.ndarray:
    values = values.copy()
    values[:, :LEFT] = key
    return values


DARK = (GRAY // 4).astype(np.uint16)
FOUR = GRAY >> 6  # two bits
# name -> (what is opened, the pixels wanted, how far they may be off)
PICTURES = {
    "RGB": (encoded(PHOTO), RGB, 0),
    "RGBA": (encoded(with_alpha()), on_white(RGB), 0),
    "LA": (encoded(with_alpha().convert("LA")), on_white(gray_rgb(GRAY)), 0),
    "La": (with_alpha().convert("LA").convert("La"), on_white(gray_rgb(GRAY)), 0),
    "PA": (with_alpha().quantize(200).convert("PA"), on_white(RGB), 24),
    "RGBa": (with_alpha().convert("RGBa"), on_white(RGB), 0),
    "half transparent": (
        with_alpha(127),
        np.where(np.arange(120)[:, None] < LEFT, 255 - (255.0 - RGB) * 127 / 255, RGB),
        1,
    ),
    "P + tRNS": (encoded(with_alpha().quantize(200)), on_white(RGB), 24),
    "RGB + tRNS": (
        encoded(Image.fromarray(keyed(RGB, 7)), transparency=(7, 7, 7)),
        on_white(RGB),
        0,
    ),
    "L + tRNS": (
        encoded(Image.fromarray(keyed(GRAY, 7)), transparency=7),
        on_white(gray_rgb(GRAY)),
        0,
    ),
    "2-bit L + tRNS": (
        png(keyed(FOUR, 2) - (FOUR == 2) * (np.arange(120) >= LEFT), 2, 0, (b"tRNS", b"\0\2")),
        on_white(gray_rgb((FOUR - (FOUR == 2)) * np.uint8(85))),
        0,
    ),
    "1": (PHOTO.convert("1"), np.asarray(PHOTO.convert("1").convert("RGB")), 0),
    "16-bit RGB": (png(RGB.astype(int) * 257, 16, 2), RGB, 0),
    "16-bit RGBA": (png(np.asarray(with_alpha()).astype(int) * 257, 16, 6), on_white(RGB), 0),
    "16-bit RGB + tRNS": (
        png(
            keyed(RGB.astype(int) * 257, 1000),
            16,
            2,
            (b"tRNS", struct.pack(">3H", 1000, 1000, 1000)),
        ),
        on_white(RGB),
        0,
    ),
    "16-bit gray + tRNS": (
        png(keyed(GRAY.astype(int) * 257, 9), 16, 0, (b"tRNS", struct.pack(">H", 9))),
        on_white(gray_rgb(GRAY)),
        0,
    ),
    "16-bit gray": (png(GRAY.astype(int) * 257, 16, 0), gray_rgb(GRAY), 0),
    "12 bits in 16": (png(GRAY.astype(int) * 16, 16, 0), gray_rgb(GRAY), 1),
    "10 bits in 16": (png(GRAY.astype(int) * 4, 16, 0), gray_rgb(GRAY), 1),
    "8 bits in 16": (png(GRAY, 16, 0), gray_rgb(GRAY), 0),
    "12 bits in 16, dark, declared": (
        png(DARK * 8, 16, 0, (b"sBIT", b"\x0c")),
        gray_rgb(DARK // 2),
        1,
    ),
    "16 bits, declared 12, filled": (
        png(GRAY.astype(int) * 257, 16, 0, (b"sBIT", b"\x0c")),
        gray_rgb(GRAY),
        0,
    ),
    "TIFF 16-bit gray": (
        encoded(Image.fromarray(GRAY.astype(np.uint16) * 257), "TIFF"),
        gray_rgb(GRAY),
        0,
    ),
    "TIFF dark, declared": (
        encoded(Image.fromarray(DARK), "TIFF", tiffinfo={281: 255}),
        gray_rgb(DARK),
        0,
    ),
    "TIFF white is zero": (
        encoded(Image.fromarray(65535 - GRAY.astype(np.uint16) * 257), "TIFF", tiffinfo={262: 0}),
        gray_rgb(GRAY),
        0,
    ),
    "int32 0..65535": (
        encoded(Image.fromarray(GRAY.astype(np.int32) * 257), "TIFF"),
        gray_rgb(GRAY),
        0,
    ),
    "int32 0..255": (encoded(Image.fromarray(GRAY.astype(np.int32)), "TIFF"), gray_rgb(GRAY), 0),
    "int32 all": (
        encoded(Image.fromarray((GRAY.astype(int) * (2**31 // 256)).astype(np.int32)), "TIFF"),
        gray_rgb(GRAY),
        1,
    ),
    "int32 with negatives": (
        Image.fromarray(
            np.where(np.arange(120) < LEFT, -1000, 1000).astype(np.int32)[None].repeat(80, 0)
        ),
        np.where(np.arange(120) < LEFT, 0, 255)[None, :, None].repeat(80, 0).repeat(3, 2),
        0,
    ),
    "float 0..1": (
        encoded(Image.fromarray((GRAY / 255).astype(np.float32)), "TIFF"),
        gray_rgb(GRAY),
        0,
    ),
    "float 0..1 and a little": (
        Image.fromarray((GRAY / 255 * 1.02 - 0.01).astype(np.float32)),
        gray_rgb(GRAY),
        3,
    ),
    "float 0..255": (encoded(Image.fromarray(GRAY.astype(np.float32)), "TIFF"), gray_rgb(GRAY), 0),
    "float with NaN": (
        Image.fromarray(np.where(np.arange(120) < LEFT, np.nan, GRAY / 255).astype(np.float32)),
        gray_rgb(np.where(np.arange(120) < LEFT, 0, GRAY)),
        0,
    ),
    "float with inf": (
        Image.fromarray(np.where(np.arange(120) < LEFT, np.inf, GRAY / 255).astype(np.float32)),
        gray_rgb(np.where(np.arange(120) < LEFT, 255, GRAY)),
        0,
    ),
    "constant": (Image.fromarray(np.full((4, 5), 4095, np.uint16)), np.full((4, 5, 3), 255), 0),
    "constant NaN": (Image.fromarray(np.full((4, 5), np.nan, np.float32)), np.zeros((4, 5, 3)), 0),
    "CMYK": (encoded(PHOTO.convert("CMYK"), "TIFF"), RGB, 0),
    "CMYK JPEG": (encoded(PHOTO.convert("CMYK"), "JPEG", quality=98), RGB, 6),
    "YCbCr": (PHOTO.convert("YCbCr"), RGB, 3),
    "HSV": (PHOTO.convert("HSV"), RGB, 6),
    "LAB": (
        encoded(
            ImageCms.profileToProfile(
                PHOTO,
                ImageCms.createProfile("sRGB"),
                ImageCms.createProfile("LAB"),
                outputMode="LAB",
            ),
            "TIFF",
        ),
        RGB,
        20,
    ),
    "APNG": (encoded(PHOTO, save_all=True, append_images=[Image.new("RGB", PHOTO.size)]), RGB, 0),
    "WebP animated": (
        encoded(
            PHOTO,
            "WEBP",
            save_all=True,
            append_images=[Image.new("RGB", PHOTO.size)],
            lossless=True,
        ),
        RGB,
        0,
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_every_kind(name):
    source, wanted, tolerance = PICTURES[name]
    picture = images.to_rgb(source)
    assert picture.mode == "RGB"
    found = np.asarray(picture, int)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance


STORED = {  # how to store a picture so that its EXIF orientation turns it upright
    1: lambda p: p,
    2: lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda p: p.transpose(Image.Transpose.ROTATE_180),
    4: lambda p: p.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda p: p.transpose(Image.Transpose.TRANSPOSE),
    6: lambda p: p.transpose(Image.Transpose.ROTATE_90),
    7: lambda p: p.transpose(Image.Transpose.TRANSVERSE),
    8: lambda p: p.transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_in_every_format(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(
        format, {}
    )
    options |= {"tiffinfo": {274: orientation}} if format == "TIFF" else {"exif": exif}
    content = encoded(STORED[orientation](PHOTO), format, **options)
    opened = images.open_image(content)
    assert opened.orientation == orientation
    assert np.abs(np.asarray(opened.picture, int) - RGB).max() <= (12 if format == "JPEG" else 0)
    lazy = images.to_rgb(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(np.asarray(lazy), np.asarray(opened.picture))
    again = images.to_rgb(lazy)  # what is upright stays so
    np.testing.assert_array_equal(np.asarray(again), np.asarray(lazy))


class ByInterface:
    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__
        self.kept = array


class ByDLPack:
    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def _torch(array):
    return pytest.importorskip("torch").from_numpy(array.copy())


def _jax(array):
    return pytest.importorskip("jax.numpy").asarray(array)


FRAMEWORKS = {
    "numpy": np.asarray,
    "interface": ByInterface,
    "dlpack": ByDLPack,
    "torch": _torch,
    "jax": _jax,
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_arrays_by_protocol(framework):
    make = FRAMEWORKS[framework]
    rgba = np.asarray(with_alpha())
    for array, wanted in (
        (RGB, RGB),
        (np.ascontiguousarray(RGB.transpose(2, 0, 1)), RGB),
        (GRAY, gray_rgb(GRAY)),
        (GRAY[:, :, None], gray_rgb(GRAY)),
        (GRAY[None], gray_rgb(GRAY)),
        (rgba, on_white(RGB)),
        (np.ascontiguousarray(rgba.transpose(2, 0, 1)), on_white(RGB)),
        ((RGB / 255).astype(np.float32), RGB),
        (GRAY > 99, gray_rgb((GRAY > 99) * np.uint8(255))),
    ):
        one = image_arrays.separate(make(array))
        assert len(one) == 1
        np.testing.assert_array_equal(np.asarray(images.to_rgb(one[0])), wanted)
        several = image_arrays.separate([make(array), make(array)])
        assert len(several) == 2
        np.testing.assert_array_equal(np.asarray(images.to_rgb(several[1])), wanted)
        if array.ndim == 3:
            batch = image_arrays.separate(make(np.stack([array, array])))
            assert len(batch) == 2
            np.testing.assert_array_equal(np.asarray(images.to_rgb(batch[1])), wanted)


def test_tensors_that_numpy_does_not_take():
    torch = pytest.importorskip("torch")
    jnp = pytest.importorskip("jax.numpy")
    exact = (GRAY // 128 * 0.5).astype(np.float32)  # what bfloat16 holds exactly
    wanted = gray_rgb(np.rint(exact * 255).astype(np.uint8))
    for source in (
        torch.tensor(exact, requires_grad=True),
        torch.tensor(exact, dtype=torch.bfloat16),
        torch.tensor(exact, dtype=torch.float16),
        torch.tensor(exact, dtype=torch.float64, requires_grad=True) * 1,
        jnp.asarray(exact, jnp.bfloat16),
    ):
        np.testing.assert_array_equal(np.asarray(images.to_rgb(source)), wanted)
    with pytest.raises(
        ValueError, match=r"torch.Tensor of torch.int64 \[3, 8, 9\] should be uint8"
    ):
        images.to_rgb(torch.zeros(3, 8, 9, dtype=torch.int64))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((3, 8, 3), np.uint8), r"uint8 \[3, 8, 3\] could be \[H, W, C\] or \[C, H, W\]"),
        (np.zeros((8, 9, 2), np.uint8), r"numpy.ndarray of uint8 \[8, 9, 2\] isn't a picture"),
        (np.zeros((8, 9, 5), np.uint8), r"several gray ones are \[N, H, W, 1\]"),
        (np.zeros((0, 9, 3), np.uint8), r"\[0, 9, 3\] has no pixels"),
        (np.zeros((2, 8, 9, 3), np.uint8), "isn't one picture"),
        (np.zeros(5, np.uint8), "isn't one picture"),
        (np.zeros((8, 9), np.uint16), r"uint16 \[8, 9\] should be uint8"),
        (np.full((8, 9, 3), 255.0), r"values from 255 to 255; floats must be from 0 to 1"),
        (np.full((8, 9, 3), -1.5), "encode_pixels"),
        (np.full((8, 9, 3), np.nan), "floats must be from 0 to 1"),
        (np.array([["a"]]), "should be uint8"),
        (7, "int isn't a picture"),
        ([[1, 2], [3, 4]], "list isn't a picture"),
        (None, "NoneType isn't a picture"),
    ],
)
def test_what_is_no_picture_is_named(source, message):
    with pytest.raises(ValueError, match=message):
        images.to_rgb(source)


def test_one_or_several():
    assert image_arrays.separate("a.jpg") == ["a.jpg"]
    assert image_arrays.separate(np.array(["a.jpg", "b.jpg"])) == ["a.jpg", "b.jpg"]
    assert image_arrays.separate(iter(["a.jpg", PHOTO])) == ["a.jpg", PHOTO]
    assert image_arrays.separate(b"\x89PNG") == [b"\x89PNG"]
    for wrong in (7, None, {"image": PHOTO}):
        with pytest.raises(ValueError, match="neither a picture nor a list of pictures"):
            image_arrays.separate(wrong)


def odd_tiff(channels: int, bits: int, sample_format: int) -> bytes:
    """The head of a TIFF with kinds of channels that Pillow doesn't know."""
    values = {256: 8, 257: 8, 259: 1, 262: 1 if channels < 3 else 2, 273: 8, 277: channels}
    lists = {258: [bits] * channels, 339: [sample_format] * channels}
    tags = sorted([*values, *lists])
    after, entries, beyond = 8 + 2 + 12 * len(tags) + 4, b"", b""
    for tag in tags:
        numbers = lists.get(tag, [values.get(tag)])
        packed = struct.pack(f"<{len(numbers)}H", *numbers)
        if len(packed) > 4:
            packed, beyond = struct.pack("<I", after + len(beyond)), beyond + packed
        entries += struct.pack("<HHI", tag, 3, len(numbers)) + packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + bytes(4) + beyond + bytes(500)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12345\n"
UNREADABLE = {
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC .*pip install pillow-heif"),
    "avif": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(99), ""),
    "jxl": (b"\xff\x0a" + bytes(50), "JPEG XL .*pip install pillow-jxl-plugin"),
    "svg": (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "html": (b"\n<!DOCTYPE html><html>404</html>", "HTML page"),
    "xml": (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "error message of a download",
    ),
    "empty": (b"", "the file is empty"),
    "zeros": (bytes(500), "all of its 500 bytes are zero"),
    "lfs": (LFS, "git lfs pull"),
    "json": (b'{"error": "not found"}', "JSON"),
    "text": ("h\u00e9llo, w\u00f6rld".encode(), "a text file"),
    "zip": (b"PK\x03\x04" + bytes(40), "ZIP archive"),
    "video": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(40), "video"),
    "noise": (bytes(range(128, 200)), "begins with 80 81 82"),
    "cut PNG": (encoded(PHOTO)[:-400], "cut short or damaged"),
    "cut JPEG": (encoded(PHOTO, "JPEG")[:-200], "cut short or damaged"),
    "gray and alpha of 16 bits": (
        odd_tiff(2, 16, 1),
        "a TIFF of 2 channels of unsigned 16-bit values .*Pillow can't read; save it as PNG or TIFF",
    ),
    "float colors": (odd_tiff(3, 32, 3), "a TIFF of 3 channels of floating-point 32-bit values"),
    "doubles": (odd_tiff(1, 64, 3), "a TIFF of 1 channel of floating-point 64-bit values"),
    "signed colors": (odd_tiff(3, 8, 2), "a TIFF of 3 channels of signed 8-bit values"),
    "TIFF header": (odd_tiff(3, 8, 2)[:20], "a TIFF whose header is damaged"),
    "JPEG header only": (encoded(PHOTO, "JPEG")[:100], "cut short"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_opened_is_called_by_its_name(name, tmp_path):
    content, message = UNREADABLE[name]
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(images.ImageFileError, match=rf"^{path}: .*{message}") as error:
        images.to_rgb(path)
    assert " at 0x" not in str(error.value)  # lists of problems are the same in every run


def test_the_path_is_named_even_for_a_missing_file_or_an_opened_picture(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg"):
        images.to_rgb(tmp_path / "absent.jpg")
    path = tmp_path / "cut.png"
    path.write_bytes(encoded(PHOTO)[:-400])
    with pytest.raises(images.ImageFileError, match=r"cut\.png: the file is cut short"):
        images.to_rgb(Image.open(path))


def tiff(values: np.ndarray, order: str, extra: int | None = None) -> bytes:
    """An uncompressed TIFF of 16-bit colors, which Pillow doesn't write; `extra`: what alpha is."""
    height, width, channels = values.shape
    tags = [
        (256, 3, width),
        (257, 3, height),
        (259, 3, 1),
        (262, 3, 2),
        (277, 3, channels),
        (278, 3, height),
    ]
    data = values.astype(f"{order}u2").tobytes()
    tags += [(258, 3, 0), (273, 4, 0), (279, 4, len(data))]
    tags = sorted(tags if extra is None else [*tags, (338, 3, extra)])
    after = 8 + 2 + 12 * len(tags) + 4
    content = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    content += struct.pack(f"{order}H", len(tags))
    for tag, kind, value in tags:
        if tag == 258:
            content += struct.pack(f"{order}HHII", tag, 3, channels, after)
        else:
            value = after + 2 * channels if tag == 273 else value
            packed = (
                struct.pack(f"{order}I", value)
                if kind == 4
                else struct.pack(f"{order}HH", value, 0)
            )
            content += struct.pack(f"{order}HHI", tag, kind, 1) + packed
    return content + bytes(4) + struct.pack(f"{order}{channels}H", *[16] * channels) + data


@pytest.mark.parametrize(
    "make", [lambda v: png(v, 16, 2), lambda v: tiff(v, "<"), lambda v: tiff(v, ">")]
)
@pytest.mark.parametrize("factor", [257, 64, 16, 4, 1])
def test_colors_of_any_depth_in_sixteen_bits(make, factor, tmp_path):
    content = make(RGB.astype(int) * factor)
    opened = images.open_image(content)
    assert np.abs(np.asarray(opened.picture, int) - RGB).max() <= 1
    assert opened.levels == (0, {257: 65535, 64: 16383, 16: 4095, 4: 1023, 1: 255}[factor])
    (tmp_path / "a").write_bytes(content)
    lazy = images.to_rgb(Image.open(tmp_path / "a"))
    np.testing.assert_array_equal(np.asarray(lazy), np.asarray(opened.picture))
    half = images.open_image(make(RGB.astype(int) * factor // 16), levels=opened.levels)
    assert np.abs(np.asarray(half.picture, int) - RGB / 16).max() <= 1.1  # as bright as the other


def test_large_pictures_and_bombs():
    bomb = png(np.zeros((1, 1), np.uint8), 8, 0)
    bomb = bomb.replace(struct.pack(">II", 1, 1), struct.pack(">II", 13_000, 13_000), 1)
    bomb = bomb[:29] + struct.pack(">I", zlib.crc32(bomb[12:29])) + bomb[33:]
    with pytest.raises(images.ImageFileError, match=r"decompression bomb: .* 169 megapixels"):
        images.to_rgb(bomb)
    with pytest.raises(images.ImageFileError, match=r"120 x 80 pixels .*--max-megapixels"):
        images.open_image(encoded(PHOTO), max_pixels=9599)
    assert images.open_image(encoded(PHOTO), max_pixels=9600).picture.size == PHOTO.size


def test_a_png_with_much_text_is_opened():
    from PIL import PngImagePlugin

    texts = PngImagePlugin.PngInfo()
    texts.add_text("c", "x" * 3_000_000, zip=True)
    texts.add_itxt("d", "y" * 3_000_000, zip=True)
    content = encoded(PHOTO, pnginfo=texts)
    np.testing.assert_array_equal(np.asarray(images.to_rgb(content)), RGB)
    assert images.without_texts(encoded(PHOTO)) == encoded(PHOTO)


# Properties.

MODES = [
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "HSV",
    "LA",
    "La",
    "PA",
    "RGBa",
    "RGBX",
    "I",
    "F",
    "I;16",
]


@st.composite
def pictures(draw) -> Image.Image:
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    mode = draw(st.sampled_from(MODES))
    if mode in ("I", "F", "I;16"):
        top = draw(st.sampled_from([0, 1, 200, 1000, 4095, 70_000, 2**31 - 1]))
        low = draw(st.sampled_from([0, -1, -1000])) if mode != "I;16" else 0
        values = rng.random((height, width)) * (min(top, 65535) if mode == "I;16" else top) + low
        if mode == "F" and draw(st.booleans()):
            values.flat[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
        return Image.fromarray(
            values.astype({"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode])
        )
    picture = Image.fromarray(rng.integers(0, 256, (height, width, 4), np.uint8))
    if mode in ("LA", "La", "PA", "RGBa"):
        through = {"LA": "LA", "La": "LA", "PA": "P", "RGBa": "RGBA"}[mode]
        return picture.convert(through).convert(mode)
    return picture.convert("RGB").convert(mode) if mode != "RGBA" else picture


@given(pictures(), st.integers(1, 8), st.booleans())
def test_every_picture_becomes_upright_rgb(picture, orientation, loaded):
    picture.getexif()[0x0112] = orientation
    found = images.to_rgb(picture)
    assert found.mode == "RGB"
    assert found.size == (picture.size[::-1] if orientation >= 5 else picture.size)
    np.testing.assert_array_equal(np.asarray(images.to_rgb(found)), np.asarray(found))
    if min(found.size) > 4:
        again = images.to_rgb(np.asarray(found))
        np.testing.assert_array_equal(np.asarray(again), np.asarray(found))


CONTENTS = [
    encoded(PHOTO, "JPEG"),
    encoded(PHOTO, "JPEG", progressive=True),
    encoded(PHOTO),
    encoded(with_alpha()),
    encoded(PHOTO.quantize(16), "GIF"),
    encoded(PHOTO, "WEBP"),
    encoded(PHOTO, "TIFF"),
    encoded(PHOTO, "TIFF", compression="tiff_lzw"),
    encoded(PHOTO, "BMP"),
    png(GRAY.astype(int) * 16, 16, 0, (b"sBIT", b"\x0c")),
    LFS,
]


def mutated(content: bytes, changes: list[tuple[int, bytes, bool]]) -> bytes:
    """A file with some bytes overwritten or put in between."""
    content = bytearray(content)
    for place, data, insert in changes:
        place %= len(content)
        content[place : place + (0 if insert else len(data))] = data
    return bytes(content)


@given(
    st.sampled_from(CONTENTS),
    st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=12), st.booleans()), max_size=6),
    st.integers(0, 2**16),
)
def test_damaged_files_give_pixels_or_the_documented_error(content, changes, cut):
    content = mutated(content, changes)
    content = content[: max(1, len(content) - cut)] if cut % 3 == 0 else content
    with contextlib.suppress(images.ImageFileError):
        assert images.to_rgb(content).mode == "RGB"


@given(
    st.lists(st.integers(0, 12), min_size=0, max_size=5),
    st.sampled_from(
        [
            "uint8",
            "bool",
            "uint16",
            "int64",
            "float16",
            "float32",
            "float64",
            "complex64",
            "U3",
            "O",
        ]
    ),
)
def test_arrays_give_pixels_or_the_documented_error(shape, dtype):
    array = np.ones(shape).astype(dtype)
    with contextlib.suppress(ValueError):
        found = images.to_rgb(array)
        assert found.mode == "RGB"
        assert len(shape) in (2, 3)
        assert found.width in shape
        assert found.height in shape


RAMP = np.tile(np.arange(0, 256, 4, np.uint8), (48, 1))


def gray_tiff(values, sample_format):
    """Bytes of a gray TIFF whose samples are unsigned (1), signed (2) or floats (3)."""
    height, width = values.shape
    data, bits = values.tobytes(), 8 * values.itemsize
    tags = [
        (256, width),
        (257, height),
        (258, bits),
        (259, 1),
        (262, 1),
        (273, 0),
        (277, 1),
    ]
    tags += [(278, height), (279, len(data)), (339, sample_format)]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in tags
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + struct.pack("<I", 0) + data


def without_value(values, missing):
    values = values.copy()
    values[0, 0] = missing
    return values


@pytest.mark.parametrize(
    "content",
    [
        gray_tiff(RAMP.astype(np.uint32) * 16843009, 1),
        gray_tiff(RAMP.astype(np.int16) * 128, 2),
        gray_tiff(without_value((RAMP / 255).astype(np.float32), -3.4e38), 3),
        b"P5 64 48 65535\n" + (RAMP.astype(np.uint16) * 257).astype(">u2").tobytes(),
    ],
    ids=["unsigned 32 bits", "signed 16 bits", "no data", "PGM"],
)
def test_gray_values_as_the_file_means_them(content):
    found = np.asarray(to_rgb(content))[..., 0].astype(int)
    assert np.abs(found - RAMP)[1:].max() <= 2


def test_signed_bytes_are_darkest_where_they_are_least(tmp_path):
    """Pillow gives out -1 as 255."""
    ramp = np.tile(np.arange(256, dtype=np.uint8), (48, 1))
    content = gray_tiff((ramp.astype(int) - 128).astype(np.int8), 2)
    opened = images.open_image(content)
    np.testing.assert_array_equal(np.asarray(opened.picture)[..., 0], ramp)
    assert opened.levels == (-128, 127)
    (tmp_path / "a.tiff").write_bytes(content)
    loaded = Image.open(tmp_path / "a.tiff")
    loaded.load()
    np.testing.assert_array_equal(np.asarray(to_rgb(loaded))[..., 0], ramp)


def test_a_dark_pgm_stays_dark():
    """Its largest value is declared."""
    content = b"P5 64 48 1023\n" + (RAMP.astype(np.uint16) // 40).astype(">u2").tobytes()
    assert np.asarray(to_rgb(content)).max() <= 2


def pnm(kind: str, values: np.ndarray, largest: int) -> bytes:
    """A PGM or PPM, binary (P5, P6) or in words (P2, P3)."""
    head = f"{kind}\n# by hand\n{values.shape[1]} {values.shape[0]}\n{largest}\n".encode()
    binary = kind in ("P5", "P6")
    return head + (
        values.astype(">u2").tobytes() if binary else " ".join(map(str, values.flat)).encode()
    )


@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_twelve_bits_in_a_pgm_of_sixteen_are_those_of_a_tiff(kind, bits, tmp_path):
    """Programs declare 65,535 for whatever has 16 bits; any other largest value is meant."""
    values = RGB if kind in ("P3", "P6") else GRAY
    deep = np.rint(values / 255 * (2**bits - 1)).astype(int)
    content = pnm(kind, deep, 65535)
    wanted = values if values.ndim == 3 else gray_rgb(values)
    opened = images.open_image(content)
    assert np.abs(np.asarray(opened.picture, int) - wanted).max() <= 1
    (tmp_path / "a.pnm").write_bytes(content)
    loaded = Image.open(tmp_path / "a.pnm")
    loaded.load()
    np.testing.assert_array_equal(np.asarray(to_rgb(loaded)), np.asarray(opened.picture))
    dark = np.asarray(to_rgb(pnm(kind, deep // 8, 2**bits - 2)), int)
    assert np.abs(dark - wanted / 8).max() <= 1.5


def test_open_files_and_sets():
    content = gray_tiff(RAMP.astype(np.uint16) * 257, 1)
    (source,) = separate(io.BytesIO(content))
    np.testing.assert_array_equal(np.asarray(to_rgb(source))[..., 0], RAMP)
    with pytest.raises(ValueError, match="set is neither a picture nor a list of pictures"):
        separate({"a.png", "b.png"})


def test_padding_in_the_header_hides_no_damage():
    """libjpeg tells of the first thing only."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)).save(
        stream, "JPEG", quality=90
    )
    good = stream.getvalue()
    at = good.find(b"\xff\xdb")
    padded = good[:at] + b"\0\0\0" + good[at:]
    assert not any(jpeg_files.examine(good) + jpeg_files.examine(padded))
    assert jpeg_files.examine(padded[: len(padded) // 2] + b"\xff\xd9").damage
    assert jpeg_files.examine(good.replace(b"\n", b"\r\n")).damage  # copied as if it were text


def cmyk16(values: np.ndarray) -> bytes:
    """A TIFF of 16-bit CMYK, uint16 [H, W, 4], which Pillow reads but doesn't write."""
    height, width, _ = values.shape
    content = values.astype("<u2").tobytes()
    bits, data = 8 + 2 + 10 * 12 + 4, 8 + 2 + 10 * 12 + 4 + 8
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 4, bits), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 5), (273, 4, 1, data), (277, 3, 1, 4), (278, 4, 1, height)]
    tags += [(279, 4, 1, len(content)), (284, 3, 1, 1)]
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + directory
    return head + struct.pack("<I", 0) + struct.pack("<4H", 16, 16, 16, 16) + content


def test_cmyk_of_12_bits_in_16_is_no_white_picture():
    inks = np.zeros((8, 8, 4), np.uint16)
    inks[:4, :, 0] = 65535
    assert images.to_rgb(cmyk16(inks)).getpixel((0, 0)) == (0, 255, 255)
    with pytest.raises(images.ImageFileError, match="less than a sixteenth of their range"):
        images.to_rgb(cmyk16(inks // 16))
    assert images.to_rgb(cmyk16(inks * 0)).getpixel((0, 0)) == (255, 255, 255)
