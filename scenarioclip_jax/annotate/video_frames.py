"""Reads frames of a video at regular times, upright, with square pixels.

Times count from the first picture of the stream, whatever its time stamp. They are divided into intervals of
`every` seconds, and the first frame of each interval is taken, so that no frame is taken twice, and a variable
frame rate gives neither too many frames nor gaps. Only time stamps count: declared durations, frame rates and
numbers of frames are often wrong or missing.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# What common recorders and data sets call their files.
SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv", ".vob"),
)
_USUAL_RATE = 25  # frames a second, where neither time stamps nor the stream tell


class VideoError(ValueError):
    """A video gives no frames; `kind` is the short name that failures are counted by."""

    def __init__(self, kind: str, detail: str):
        super().__init__(detail)
        self.kind = kind


class Frame(NamedTuple):
    """A frame that was chosen.

    Attributes:
      milliseconds: Its time from the first picture on, rounded down.
      picture: Converts it: RGB, upright.
    """

    milliseconds: int
    picture: Callable[[], Image.Image]


class Video:
    """A video file.

    Args:
      file: The file.
      every: Length of an interval, in seconds.
      max_side: Longest side of a picture, in pixels; larger ones are made smaller.
      threads: Threads that decode.

    Attributes:
      damaged: Number of packets and frames that couldn't be decoded so far.
    """

    def __init__(self, file: Path, every: float, max_side: int, threads: int = 1):
        self._file, self._max_side, self._threads = file, max_side, threads
        self._every = Fraction(str(every))  # exactly as written: 0.1 is a tenth
        self.damaged = 0

    def frames(self) -> Iterator[Frame]:
        """Yields the chosen frames, in their order.

        Raises:
          VideoError: There is no frame; its kind is empty, not_a_video, no_picture, no_decoder, no_frame or
            broken.
        """
        import av  # here, because most commands read no videos
        from av.error import FFmpegError

        if not self._file.stat().st_size:
            raise VideoError("empty", "the file has no content")
        # Titles in other encodings must not stop this; from 19 on, PyAV takes any bytes by itself.
        strict = int(av.__version__.split(".")[0]) < 19
        lenient: dict[str, Any] = {"metadata_errors": "replace"} if strict else {}
        try:
            # A file that names others, such as a playlist, must not make this fetch them.
            container = av.open(
                str(self._file.absolute()), options={"protocol_whitelist": "file"}, **lenient
            )
        except FFmpegError as error:
            if isinstance(error, PermissionError | FileNotFoundError):
                raise
            raise VideoError("not_a_video", f"it can't be opened ({_short(error)})") from error
        with container:
            found = False
            for frame in self._chosen(self._stream(container), container):
                found = True
                yield frame
        if not found:
            detail = f"none of its frames can be decoded ({self.damaged:,} errors)"
            raise (
                VideoError("broken", detail)
                if self.damaged
                else VideoError("no_frame", "its picture stream holds no frame")
            )

    def _stream(self, container: Any) -> Any:
        """The first stream of pictures that isn't the cover of a piece of music."""
        from av.error import FFmpegError
        from av.stream import Disposition

        for stream in container.streams.video:
            if stream.disposition & Disposition.attached_pic:
                continue
            try:
                context = stream.codec_context
                if context is None:
                    raise VideoError("no_decoder", "its codec is unknown")
                context.thread_type = "AUTO"
                context.thread_count = self._threads
                context.open(strict=False)
            except FFmpegError as error:
                detail = f"its codec can't be decoded ({_short(error)})"
                raise VideoError("no_decoder", detail) from error
            return stream
        raise VideoError("no_picture", "it has no stream of pictures")

    def _chosen(self, stream: Any, container: Any) -> Iterator[Frame]:
        step = 1 / Fraction(stream.average_rate or stream.guessed_rate or _USUAL_RATE)
        clock, taken = _Clock(step), -1
        # Read now: the caller may keep a frame for longer than the file is open.
        ratio = float(stream.sample_aspect_ratio or 1)
        for frame in self._decoded(stream, container):
            time = clock.time(frame)
            interval = time // self._every
            if interval > taken:
                taken = interval
                yield Frame(int(time * 1000), lambda frame=frame: self._picture(frame, ratio))

    def _decoded(self, stream: Any, container: Any) -> Iterator["VideoFrame"]:
        """All frames that can be decoded; what can't is counted, as players go on, too."""
        from av.error import FFmpegError

        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError:  # the rest of the file can't be read
                self.damaged += 1
                return
            try:
                frames = packet.decode()
            except FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += 1
                else:
                    yield frame

    def _picture(self, frame: "VideoFrame", ratio: float) -> Image.Image:
        picture = frame.to_image()
        width, height = picture.size
        # Pixels that aren't square make people fat or thin.
        if ratio > 1:
            width = round(width * ratio)
        else:
            height = round(height / ratio)
        scale = min(1.0, self._max_side / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if size != picture.size:
            picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        # Quarter turns only: how a phone was held. PyAV tells degrees counterclockwise, as Pillow turns.
        return picture.rotate(round(frame.rotation / 90) * 90, expand=True)


class _Clock:
    """Tells the times of frames from the first one on, in seconds."""

    def __init__(self, step: Fraction):
        self._step, self._offset = step, None
        self._last: Fraction | None = None

    def time(self, frame: "VideoFrame") -> Fraction:
        stamp = frame.pts if frame.pts is not None else frame.dts
        if stamp is None or frame.time_base is None:
            time = Fraction(0) if self._last is None else self._last + self._step
        else:
            stamped = stamp * Fraction(frame.time_base)
            if self._offset is None:
                self._offset = stamped - (Fraction(0) if self._last is None else self._last)
            time = stamped - self._offset
            if self._last is not None and time < self._last:
                # Another recording begins in the same file, with stamps of its own.
                time = self._last + self._step
                self._offset = stamped - time
        self._last = time
        return time


def _short(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)[:200]
