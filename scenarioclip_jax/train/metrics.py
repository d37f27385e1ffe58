"""The single writer of all metrics of a run: `metrics.jsonl`, TensorBoard and the console."""

import contextlib
import errno
import io
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import jax
from PIL import Image

from scenarioclip_jax.checkpoint import what_is_whole
from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.files import write_text
from scenarioclip_jax.train.tensorboard import import_tensorboard_x

FLUSH_SECONDS = 30.0  # least time between two flushes of TensorBoard's file
# The disk is full, broken or read-only, or the folder isn't ours or isn't a folder: code can't fix any of that.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
UNWRITABLE += (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)


class NonFiniteLossError(ReadableError, RuntimeError):
    """The loss became NaN or infinite. The message names the step."""


class OutputError(ReadableError, RuntimeError):
    """A file of the run can't be written. The message names it and the checkpoint to resume from."""


@contextlib.contextmanager
def explaining_output(workdir: Path, path: Path | None = None) -> Iterator[None]:
    """Turns the system's refusal to write a file into OutputError.

    Args:
      workdir: The run's folder.
      path: Path of the file, for errors in which the system doesn't name it.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise OutputError(
            f"{path or error.filename or workdir}: {error.strerror}. Mend that and start the same command "
            f"again; {what_is_whole(workdir)}"
        ) from error


class MetricWriter:
    """Appends rows to DIR/metrics.jsonl and the same scalars to DIR/tensorboard.

    Args:
      directory: The run's workdir.
      step: The step that the run starts or resumes from. Rows of later steps, left behind by an interrupted
        run, are dropped, because the run will write them again.
      validated: Whether the validation of `step` is done; if not, it will be done and written again.
    """

    def __init__(self, directory: Path, step: int, *, validated: bool = True):
        self.directory, self.path = directory, directory / "metrics.jsonl"
        kept = [row for row in read_rows(self.path) if row["step"] <= step]
        if not validated:
            kept = [r for r in kept if not (r["step"] == step and "validation/score" in r)]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = self.path.open("a", encoding="utf-8")
        self._board = TensorBoard(directory / "tensorboard", step)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Writes one row. Values must be finite, as JSON has no NaN or infinity.

        Raises:
          OutputError: The file can't be written, for example because the disk is full.
        """
        row = {"step": step} | {name: float(value) for name, value in metrics.items()}
        with explaining_output(self.directory, self.path):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        self._board.write(step, metrics)

    def picture(self, step: int, name: str, png: bytes) -> None:
        """Shows a picture, an encoded PNG, in TensorBoard."""
        self._board.picture(step, name, png)

    def close(self) -> None:
        self._board.close()
        with explaining_output(self.directory, self.path):
            self._file.close()


class TensorBoard:
    """Scalars and pictures for TensorBoard; if its file can't be written, the run continues.

    The caller's thread writes. `tensorboardX.SummaryWriter` has a thread of its own that ends at the first
    error, after which every caller blocks forever.

    Args:
      folder: Folder to write to.
      step: The step that the run starts or resumes from; TensorBoard hides what it has from later steps.
    """

    def __init__(self, folder: Path, step: int):
        self._folder, self._file, self._flushed = folder, None, time.monotonic()
        self._x = import_tensorboard_x()
        self._events = self._x.proto.event_pb2
        with self._giving_up():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._x.event_file_writer.EventsWriter(str(folder / "events"))
            restart = self._events.SessionLog(status=self._events.SessionLog.START)
            self._add(step + 1, session_log=restart)

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._file = None
            say(
                f"{self._folder}: {error.strerror}; the run goes on without TensorBoard, metrics.jsonl has "
                "every number"
            )

    def write(self, step: int, metrics: dict[str, float]) -> None:
        if self._file is None:
            return
        with self._giving_up():
            for name, value in metrics.items():
                self._add(step, summary=self._x.summary.scalar(name, value))
            if time.monotonic() - self._flushed > FLUSH_SECONDS:
                self._file.flush()
                self._flushed = time.monotonic()

    def picture(self, step: int, name: str, png: bytes) -> None:
        """Adds a picture, an encoded PNG."""
        if self._file is None:
            return
        with Image.open(io.BytesIO(png)) as opened:
            size = dict(zip(("width", "height"), opened.size, strict=True))
        summary = self._x.proto.summary_pb2.Summary
        image = summary.Image(colorspace=3, encoded_image_string=png, **size)
        with self._giving_up():
            self._add(step, summary=summary(value=[summary.Value(tag=name, image=image)]))

    def _add(self, step: int, **what) -> None:
        assert self._file is not None  # whoever adds has looked
        self._file.write_event(self._events.Event(wall_time=time.time(), step=step, **what))

    def close(self) -> None:
        if self._file is not None:
            with self._giving_up():
                self._file.close()
        self._file = None


class NullWriter:
    """The writer of processes that don't write."""

    directory = None

    def write(self, step: int, metrics: dict[str, float]) -> None:
        del step, metrics

    def picture(self, step: int, name: str, png: bytes) -> None:
        del step, name, png

    def close(self) -> None:
        """Does nothing, because nothing was opened."""


def read_rows(path: Path) -> list[dict[str, float]]:
    """Reads the rows of a metrics file; none if there is no file. Leaves out a row cut off by a crash."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and "step" in row:  # a crash may also leave a number's last digits
            rows.append(row)
    return rows


def finite(step: int, metrics: dict[str, float], most_skipped: int = 0) -> dict[str, float]:
    """Returns the finite metrics: all of them, unless the step was skipped.

    Args:
      most_skipped: How many steps may have been skipped so far because their loss or gradient was NaN or
        infinite.

    Raises:
      NonFiniteLossError: A metric is NaN or infinite and the step wasn't skipped, or too many steps were.
    """
    skipped = metrics.get("skipped_steps", 0)
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if skipped > most_skipped:
        raise NonFiniteLossError(
            f"step {step}: {skipped:.0f} steps had a loss or gradient that is no number, more than "
            f"config.optimizer.skip_nonfinite={most_skipped}; this state is not saved. {_REMEDY}"
        )
    if bad and not most_skipped:
        raise NonFiniteLossError(
            f"step {step}: {', '.join(bad)} not finite; this state is not saved. {_REMEDY}"
        )
    return {name: value for name, value in metrics.items() if name not in bad}


# A NaN or infinity shows in these, whichever metric it starts in.
TELLING = ("loss/total", "gradient_norm", "skipped_steps")


def check_finite(step: int, metrics: dict[str, jax.Array], most_skipped: int = 0) -> None:
    """Raises NonFiniteLossError as `finite` does, but reads only a few numbers if nothing is wrong."""
    told = {
        k: float(v)
        for k, v in jax.device_get({k: metrics[k] for k in TELLING if k in metrics}).items()
    }
    good = all(math.isfinite(value) for value in told.values())
    if not good or told.get("skipped_steps", 0) > most_skipped:
        finite(step, {k: float(v) for k, v in jax.device_get(metrics).items()}, most_skipped)


_REMEDY = (
    "Start a new --workdir with a "
    "lower config.optimizer.learning_rate or clip_norm; --config.init_from=THIS_WORKDIR takes over the weights "
    "of its last checkpoint, if it has one"
)
