"""Which frames of a video are taken, and what they look like."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scenarioclip_jax.annotate.video_frames import Video, VideoError
from tests.annotate.video_files import SIZE, corner, gray, turn, write_sound, write_video

CONTAINERS = [
    *(("mp4", "mpeg4"), ("mp4", "libx264"), ("mov", "mpeg4"), ("mkv", "libx264")),
    *(("ts", "libx264"), ("webm", "libvpx-vp9")),
]


def times_of(file, every=1.0):
    return [frame.milliseconds for frame in Video(file, every, 1280).frames()]


def first_of_each_interval(times, every):
    """The rule, written down once more: the first time in each interval, from the first time on."""
    found = {}
    for time in times:
        found.setdefault((time - times[0]) // every, time - times[0])
    return sorted(found.values())


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
@settings(max_examples=8, deadline=None)
@given(
    gaps=st.lists(st.one_of(st.integers(1, 80), st.integers(1, 4000)), min_size=5, max_size=30),
    late=st.integers(0, 9000),
    every=st.sampled_from([100, 500, 1000, 2500]),
)
def test_the_first_frame_of_each_interval_is_taken_by_its_time_stamp(
    tmp_path_factory, suffix, codec, gaps, late, every
):
    """Frame rates vary, and streams start late."""
    times = list(np.cumsum([late, *gaps]).tolist())
    file = tmp_path_factory.mktemp("video") / f"a.{suffix}"
    found = times_of(write_video(file, times, codec=codec), every / 1000)
    assert found == first_of_each_interval(times, every)


def test_each_time_has_its_own_picture(tmp_path):
    times = [0, 300, 1700, 2000, 2100, 5050, 5900]
    file = write_video(tmp_path / "a.mp4", times)
    for frame in Video(file, 1.0, 1280).frames():
        shown = np.asarray(frame.picture()).mean()
        expected = np.asarray(gray(times.index(frame.milliseconds))).mean()
        assert abs(shown - expected) < 3, frame.milliseconds


def test_a_stream_without_duration_gives_all_its_frames(tmp_path):
    times = list(range(0, 4000, 100))
    whole = write_video(tmp_path / "a.mkv", times, codec="libx264").read_bytes()
    # The header's duration (element 0x4489, a double) becomes another element that nobody reads.
    cut = tmp_path / "cut.mkv"
    assert whole.count(b"\x44\x89\x88") == 1
    cut.write_bytes(whole.replace(b"\x44\x89\x88", b"\x4d\x89\x88"))
    assert times_of(cut) == [0, 1000, 2000, 3000]


def test_a_title_in_any_encoding_is_no_obstacle(tmp_path):
    file = write_video(tmp_path / "a.mkv", [0, 1000], codec="libx264")
    whole = file.read_bytes()
    assert b"Lavf" in whole
    file.write_bytes(whole.replace(b"Lavf", b"L\xe4\xfff"))  # no UTF-8
    assert times_of(file) == [0, 1000]


@pytest.mark.parametrize(
    ("degrees", "red"), [(90, "upper right"), (180, "lower right"), (270, "lower left")]
)
def test_a_turned_recording_is_upright(tmp_path, degrees, red):
    file = turn(write_video(tmp_path / "a.mp4", [0, 500], [corner()] * 2), degrees)
    (frame,) = Video(file, 1.0, 1280).frames()
    picture = frame.picture()
    assert picture.size == (SIZE if degrees == 180 else SIZE[::-1])
    width, height = picture.size
    for row, y in (("upper", height // 4), ("lower", 3 * height // 4)):
        for column, x in (("left", width // 4), ("right", 3 * width // 4)):
            is_red = picture.getpixel((x, y))[0] > 150
            assert is_red == (red == f"{row} {column}"), (row, column)


def test_pixels_become_square_and_large_pictures_small(tmp_path):
    wide = write_video(tmp_path / "wide.mp4", [0], ratio=Fraction(3, 2))
    high = write_video(tmp_path / "high.mp4", [0], ratio=Fraction(2, 3))
    sizes = [
        next(Video(file, 1.0, side).frames()).picture().size
        for file, side in ((wide, 1280), (high, 1280), (wide, 32))
    ]
    assert sizes == [(96, 48), (64, 72), (32, 16)]


def test_damage_is_counted_and_the_rest_is_taken(tmp_path):
    times = list(range(0, 6000, 100))
    noise = np.random.default_rng(0)
    pictures = [Image.fromarray(noise.integers(0, 255, (48, 64, 3), dtype=np.uint8)) for _ in times]
    file = write_video(tmp_path / "a.mp4", times, pictures, codec="libx264")
    content = bytearray(file.read_bytes())
    middle = content.index(b"mdat") + len(content) // 3
    content[middle : middle + 6000] = b"\xff" * 6000
    file.write_bytes(content)
    video = Video(file, 1.0, 1280)
    found = [frame.milliseconds for frame in video.frames()]
    assert video.damaged > 0
    assert found[0] == 0
    assert found[-1] >= 5000
    assert 3 <= len(found) <= 6


@pytest.mark.parametrize("kind", ["empty", "not_a_video", "no_picture", "cover", "broken"])
def test_what_gives_no_frame_has_a_kind(tmp_path, kind):
    file = tmp_path / "a.mp4"
    if kind in ("no_picture", "cover"):
        write_sound(file, cover=kind == "cover")
    elif kind == "broken":
        content = write_video(file, [0, 100, 200]).read_bytes()
        start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
        assert start < end
        file.write_bytes(content[:start] + b"\0" * (end - start) + content[end:])
    else:
        file.write_bytes(b"" if kind == "empty" else b"this is a text " * 100)
    with pytest.raises(VideoError) as caught:
        times_of(file)
    assert caught.value.kind == ("no_picture" if kind == "cover" else kind)


def test_a_playlist_reaches_no_other_file_by_network(tmp_path):
    file = tmp_path / "a.ts"
    file.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError):
        times_of(file)


def test_a_second_recording_in_a_file_is_taken_though_its_time_stamps_begin_anew(tmp_path):
    one = write_video(tmp_path / "one.ts", range(0, 3000, 100), codec="libx264").read_bytes()
    file = tmp_path / "both.ts"
    file.write_bytes(one + one)
    # The second begins one frame after the first has ended.
    assert len(times_of(file)) == 6
