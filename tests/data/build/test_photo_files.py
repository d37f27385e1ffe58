"""What the builder keeps of a photo: what training reads there is what was checked."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

from scenarioclip_jax.data import damage, photo
from scenarioclip_jax.data.build import photo_files
from scenarioclip_jax.data.build.image_metadata import without_metadata
from scenarioclip_jax.data.build.photo_files import PhotoError, open_photo
from tests.data import builder_inputs
from tests.data.test_images import CONTENTS, PICTURES, encoded, mutated, png


def noisy(width: int = 320, height: int = 240) -> Image.Image:
    """A photo with detail everywhere, as a camera's."""
    pixels = np.asarray(builder_inputs.photo(width, height)).astype(int)
    noise = np.random.default_rng(1).integers(-20, 20, (height // 4, width // 4, 3))
    return Image.fromarray((pixels + noise.repeat(4, 0).repeat(4, 1)).clip(0, 255).astype(np.uint8))


PHOTO = noisy()
DATA = encoded(PHOTO, "JPEG", quality=88)
PROGRESSIVE = encoded(PHOTO, "JPEG", quality=88, progressive=True)
RESTART = encoded(PHOTO, "JPEG", quality=88, restart_marker_rows=1)
END = b"\xff\xd9"


def opened(tmp_path, content: bytes, **options) -> photo_files.Photo:
    (tmp_path / "a.jpg").write_bytes(content)
    return open_photo(tmp_path, "a.jpg", **options)


def trained_on(found: photo_files.Photo) -> np.ndarray:
    return np.asarray(photo.rgb(Image.open(io.BytesIO(found.encoded))))


@pytest.mark.parametrize("name", [n for n, (s, *_) in PICTURES.items() if isinstance(s, bytes)])
def test_training_sees_what_was_checked(name, tmp_path):
    found = opened(tmp_path, PICTURES[name][0])
    np.testing.assert_array_equal(trained_on(found), np.asarray(found.picture))
    difference = np.abs(np.asarray(found.picture, int) - PICTURES[name][1])
    assert difference.mean() < 4


def test_files_that_training_reads_as_they_are_stay_as_they_are(tmp_path):
    mpo = encoded(PHOTO, "MPO", save_all=True, append_images=[PHOTO.rotate(180)])
    for content in (DATA, PROGRESSIVE, RESTART, encoded(PHOTO), mpo, DATA + b"more" * 99):
        found = opened(tmp_path, content, keep_metadata=True)
        assert found.encoded == content
        assert (found.repairs, found.reencoded) == ([], "")
        if content != mpo:
            bare = content.removesuffix(b"more" * 99)
            assert opened(tmp_path, content).encoded == bare, "nothing was to be removed"
    assert opened(tmp_path, encoded(PHOTO, "WEBP")).reencoded == "WEBP"


def changed(content: bytes, share: float, data: bytes) -> bytes:
    start = int(len(content) * share)
    return content[:start] + data + content[start + len(data) :]


NOISE = np.random.default_rng(3).integers(0, 256, 200, np.uint8).tobytes()
DAMAGED = {
    "cut, with an end": DATA[: len(DATA) // 2] + END,
    "cut near the end, with an end": DATA[: len(DATA) - 40] + END,
    "progressive, cut, with an end": PROGRESSIVE[: len(PROGRESSIVE) // 3] + END,
    "progressive, last scan cut": PROGRESSIVE[:-200] + END,
    "restart markers, cut, with an end": RESTART[: len(RESTART) // 2] + END,
    "second half zero": changed(DATA, 0.5, bytes(len(DATA) // 2)),
    "second half zero, with an end": changed(DATA, 0.5, bytes(len(DATA) // 2 - 2)),
    "zeros in the middle": changed(DATA, 0.4, bytes(2048)),
    "noise in the middle": changed(DATA, 0.4, NOISE),
    "noise in the middle, progressive": changed(PROGRESSIVE, 0.4, NOISE),
    "a part is missing": DATA[:4000] + DATA[6500:],
    "gray": changed(encoded(PHOTO.convert("L"), "JPEG", quality=88), 0.4, NOISE),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_jpegs_are_noticed(name, tmp_path):
    with pytest.raises(PhotoError, match=r"'a.jpg'.*copy or download it again") as error:
        opened(tmp_path, DAMAGED[name])
    assert error.value.reason in ("damaged_image", "unreadable_image")


GOOD = {
    f"{mode} {options} {size}": (mode, options, size)
    for mode in ("RGB", "L", "CMYK")
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 3}, {"optimize": True})
    for size in ((1, 1), (17, 9), (333, 250))
} | {
    f"subsampling {subsampling}": ("RGB", {"subsampling": subsampling}, (333, 247))
    for subsampling in (0, 1, 2)
}


@pytest.mark.parametrize("name", GOOD)
def test_good_jpegs_are_kept(name, tmp_path):
    mode, options, size = GOOD[name]
    for picture in (PHOTO.resize(size), Image.new("RGB", size), Image.new("RGB", size, (128,) * 3)):
        half = picture.copy()
        half.paste((128, 128, 128), (0, size[1] // 2, *size))  # like the gray of a damaged one
        for each in (picture, half):
            found = opened(tmp_path, encoded(each.convert(mode), "JPEG", **options))
            assert {reason for reason, _ in found.repairs} <= {"not_rgb"}
            assert found.doubts == [] or (each is half and size[1] > 9)


def test_a_gray_tail_that_was_saved_again_is_pointed_out(tmp_path):
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        picture = Image.open(io.BytesIO(DATA[: len(DATA) // 2]))
        picture.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    for content in (encoded(picture), encoded(picture, "JPEG", quality=80)):
        found = opened(tmp_path, content)
        assert [reason for reason, _ in found.doubts] == ["gray_tail"]
        assert found.encoded == content  # it may be so
    bars = PHOTO.copy()
    for top in (0, 200):
        bars.paste(
            (128, 128, 128), (0, top, 320, top + 40)
        )  # above and below, as a viewer adds them
    for good in (PHOTO, bars, Image.new("RGB", (320, 240), (128, 128, 128))):
        assert opened(tmp_path, encoded(good, "JPEG")).doubts == []


def test_a_jpeg_that_lacks_only_its_end_is_mended(tmp_path):
    for content in (DATA, PROGRESSIVE, RESTART):
        for cut in (content[:-2], content[:-1], content[:-2] + bytes(512)):
            found = opened(tmp_path, cut)
            assert [reason for reason, _ in found.repairs] == ["jpeg_end_missing"]
            np.testing.assert_array_equal(
                trained_on(found), np.asarray(Image.open(io.BytesIO(content)))
            )


def test_thumbnails_and_padding_are_no_damage(tmp_path):
    thumbnail = Image.Exif()
    thumbnail[0x010E] = "a camera"
    content = encoded(PHOTO, "JPEG", exif=thumbnail, comment=DATA[:999])  # a JPEG within the JPEG
    for each in (content, DATA[:-2] + b"\0\0" + END, DATA[:-2] + b"\xff\xff" + END):
        assert opened(tmp_path, each, keep_metadata=True).encoded == each
        np.testing.assert_array_equal(
            trained_on(opened(tmp_path, each)), np.asarray(Image.open(io.BytesIO(each)))
        )


def secrets_in(content: bytes) -> list[bytes]:
    return [word for word in (b"Ann", b"Paris", b"moved", b"Exif") if word in content]


def private_files():
    exif = Image.Exif()
    exif[0x013B] = "Ann"  # the artist
    exif.get_ifd(0x8825)[0x001D] = "Paris"  # GPS
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    jpeg = {"exif": exif, "comment": b"Paris", "icc_profile": profile}
    yield encoded(PHOTO, "JPEG", **jpeg)
    yield encoded(PHOTO, "JPEG", progressive=True, **jpeg)
    yield encoded(PHOTO, "JPEG", restart_marker_blocks=3, **jpeg)
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x>Paris</x>"
    segments = b"\xff\xe1" + (len(xmp) + 2).to_bytes(2) + xmp
    segments += b"\xff\xed\x00\x13Photoshop 3.0\0Ann"
    yield DATA[:2] + segments + DATA[2:] + b"ftypmp4 moved in Paris"  # a motion photo's film
    yield encoded(PHOTO, "MPO", exif=exif, save_all=True, append_images=[PHOTO.rotate(180)])
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("Author", "Ann")
    texts.add_text("Place", "Paris", zip=False)
    yield encoded(PHOTO, "PNG", pnginfo=texts, exif=exif, icc_profile=profile) + b"Paris"


@pytest.mark.parametrize("content", private_files(), ids=range(6))
def test_places_and_names_are_removed_and_pixels_stay(content, tmp_path):
    assert secrets_in(content)
    found = opened(tmp_path, content)
    assert secrets_in(found.encoded) == []
    np.testing.assert_array_equal(trained_on(found), np.asarray(Image.open(io.BytesIO(content))))
    assert Image.open(io.BytesIO(found.encoded)).info.get("icc_profile") == (
        Image.open(io.BytesIO(content)).info.get("icc_profile")
    )
    assert found.repairs == []
    assert opened(tmp_path, content, keep_metadata=True).encoded == content


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_comments_do_not_survive_a_conversion(mode, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    form = {"L": "GIF"}.get(mode, "JPEG")
    content = encoded(PHOTO.convert(mode), form, comment=b"Paris", exif=exif)
    assert b"Paris" in content
    assert b"Paris" not in opened(tmp_path, content).encoded


def test_what_belongs_to_no_pixel_is_cut_off(tmp_path):
    jfif = b"\xff\xe0\0\x1b" + b"JFIF\0\1\1\0\0\1\0\1\1\3" + b"thumb-Ann"
    adobe = b"\xff\xee\0\x13Adobe\0d\0\0\0\0\0Paris"
    profile = b"\xff\xe2\0\x13ICC_PROFILE-Ann\0\0"
    content = DATA[:2] + jfif + adobe + profile + DATA[20:]
    found = without_metadata(content)
    assert found is not None
    assert secrets_in(found) == []
    same = [np.asarray(Image.open(io.BytesIO(each))) for each in (content, found)]
    np.testing.assert_array_equal(*same)


def test_what_cannot_be_followed_is_encoded_again(tmp_path):
    odd = DATA[:2] + b"\xff\xe1\xff\xffAnn" + DATA[2:]  # a segment that is longer than the file
    assert without_metadata(odd[: len(odd) // 2]) is None
    assert without_metadata(b"GIF89a") is None
    assert without_metadata(DATA) == DATA


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_are_followed_or_refused(noise, at):
    for start in (DATA, encoded(PHOTO)):
        found = without_metadata(start[:at] + noise + start[at + len(noise) :])
        assert found is None or len(found) <= len(start) + len(noise)


def test_much_text_in_a_png_is_removed(tmp_path):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("c", "x" * 3_000_000, zip=True)
    found = opened(tmp_path, encoded(PHOTO, pnginfo=texts))
    assert [reason for reason, _ in found.repairs] == ["png_texts_removed"]
    np.testing.assert_array_equal(trained_on(found), np.asarray(PHOTO))


def test_the_range_that_was_found_is_noted(tmp_path):
    for factor, noted in ((257, []), (16, ["range_found"])):
        content = png(np.asarray(PHOTO).astype(int) * factor, 16, 2)
        assert [reason for reason, _ in opened(tmp_path, content).repairs] == noted


def test_a_doubt_about_the_file_is_kept_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(damage, "examine", lambda content: damage.Findings(doubt="a jump"))
    found = opened(tmp_path, DATA)
    assert found.doubts == [("looks_damaged", "'a.jpg': look at it: a jump")]
    assert found.encoded == DATA


def test_a_focused_region_is_as_bright_as_its_photo(tmp_path):
    gray = np.asarray(PHOTO.convert("L")).astype(np.uint16) * 16  # 12 bits
    region = np.where(np.arange(320) < 40, gray // 16, 0).astype(
        np.uint16
    )  # would be 8 bits by itself
    Image.fromarray(gray).save(tmp_path / "a.png")
    Image.fromarray(region).save(tmp_path / "focus.png")
    whole = open_photo(tmp_path, "a.png")
    assert whole.levels == (0, 4095)
    focus = open_photo(tmp_path, "focus.png", "black", levels=whole.levels)
    assert np.asarray(focus.picture).max() <= 16


@given(
    st.sampled_from([*CONTENTS, encoded(PHOTO.convert("CMYK"), "JPEG"), DATA, PROGRESSIVE]),
    st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=12), st.booleans()), max_size=6),
)
def test_damaged_files_are_refused_or_stored_as_they_were_checked(content, changes):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.jpg").write_bytes(mutated(content, changes))
        try:
            found = open_photo(Path(folder), "a.jpg")
        except PhotoError as error:
            reason = error.reason
            assert reason in ("unreadable_image", "damaged_image")
            return
    np.testing.assert_array_equal(trained_on(found), np.asarray(found.picture))
