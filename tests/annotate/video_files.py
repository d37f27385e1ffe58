"""Small videos, made with PyAV, of which every time stamp is known."""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from PIL import Image

SIZE = (64, 48)
MILLISECONDS = Fraction(1, 1000)


def gray(number: int) -> Image.Image:
    """A picture of one gray, which a codec keeps nearly; it tells frames apart."""
    return Image.new("RGB", SIZE, (20 + number * 7 % 210,) * 3)


def corner() -> Image.Image:
    """A gray picture whose upper left quarter is red."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 40, np.uint8)
    pixels[: SIZE[1] // 2, : SIZE[0] // 2] = (255, 0, 0)
    return Image.fromarray(pixels)


def write_video(
    path: Path,
    times: Sequence[int],
    pictures: Iterable[Image.Image] | None = None,
    codec: str = "mpeg4",
    ratio: Fraction | None = None,
    quality: int = 2,
) -> Path:
    """Writes a video.

    Args:
      path: The file, whose suffix decides on the container.
      times: Time stamps of its frames, in milliseconds.
      pictures: Its frames, of one size; by default each has a gray of its own.
      codec: The encoder.
      ratio: Width of a pixel by its height.
      quality: The quantizer of mpeg4; 1 is best.
    """
    pictures = list(pictures or map(gray, range(len(times))))
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt, stream.time_base = "yuv420p", MILLISECONDS
        stream.codec_context.time_base = MILLISECONDS
        if codec == "mpeg4":
            stream.codec_context.qmin = stream.codec_context.qmax = quality
        if ratio:
            stream.codec_context.sample_aspect_ratio = ratio
        for time, picture in zip(times, pictures, strict=True):
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = time, MILLISECONDS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path, cover: bool = False) -> Path:
    """Writes a second of silence without pictures but, maybe, a cover."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        if cover:
            art = container.add_stream("mjpeg", rate=1)
            art.width, art.height, art.pix_fmt = *SIZE, "yuvj420p"
            art.disposition = Disposition.attached_pic
        stream = container.add_stream("aac", rate=8000)
        samples = np.zeros((1, 8192), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 8000
        if cover:
            container.mux(art.encode(av.VideoFrame.from_image(gray(3))))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path: Path, degrees: int) -> Path:
    """Lets an MP4 file ask for a turn clockwise, by the matrix in its track header.

    The matrix (a, b, u, c, d, v, x, y, w) of QuickTime maps a pixel (p, q) to (a p + c q + x, b p + d q + y).
    """
    width, height = SIZE
    a, b, c, d, x, y = {
        90: (0, 1, -1, 0, height, 0),
        180: (-1, 0, 0, -1, width, height),
        270: (0, -1, 1, 0, 0, width),
    }[degrees]
    content = path.read_bytes()
    # After the type: version and flags, five words of times, number and duration, two unused, four shorts.
    start = content.index(b"tkhd") + 4 + 4 + 4 * 5 + 4 * 2 + 2 * 4
    one = 1 << 16
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, x * one, y * one, 1 << 30)
    path.write_bytes(content[:start] + matrix + content[start + len(matrix) :])
    return path
