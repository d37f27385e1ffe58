"""One writer for every number of a run: `metrics.jsonl`, TensorBoard and the console."""

import json
import math
import sys
from pathlib import Path

from scenarioclip_jax.checkpoint import write_atomically


class NonFiniteLossError(RuntimeError):
    """The loss is no number any more. The message names the step."""


def _tensorboard_x():
    """The library, imported without PyTorch: where that is installed it would cost every start seconds."""
    absent = "torch" not in sys.modules
    if absent:
        sys.modules["torch"] = None  # an import of it fails, which tensorboardX is prepared for
    try:
        import tensorboardX
    finally:
        if absent:
            del sys.modules["torch"]
    return tensorboardX


class MetricWriter:
    """Appends rows to DIR/metrics.jsonl and the same scalars to DIR/tensorboard.

    Args:
      directory: the run's workdir.
      step: the step that the run (re)starts from. Rows of later steps, which a run that was cut short left
        behind, are dropped: the run will write them again.
      validated: whether the validation of `step` is done; if not, it will be done and written again.
    """

    def __init__(self, directory: Path, step: int, *, validated: bool = True):
        self.directory, self.path = directory, directory / "metrics.jsonl"
        kept = [row for row in read_rows(self.path) if row["step"] <= step]
        if not validated:
            kept = [r for r in kept if not (r["step"] == step and "validation/score" in r)]
        write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = self.path.open("a", encoding="utf-8")
        # purge_step hides what TensorBoard has of later steps, as above.
        self._board = _tensorboard_x().SummaryWriter(
            str(directory / "tensorboard"), purge_step=step + 1
        )

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Writes one row. Values must be finite; JSON has no other numbers."""
        row = {"step": step} | {name: float(value) for name, value in metrics.items()}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        self._board.close()


class NullWriter:
    """Of the processes that don't write."""

    directory = None

    def write(self, step: int, metrics: dict[str, float]) -> None:
        del step, metrics

    def close(self) -> None:
        """Nothing was opened."""


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics file; none if there is no file. A row cut off by a crash is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def finite(step: int, metrics: dict[str, float], most_skipped: int = 0) -> dict[str, float]:
    """The metrics that are numbers: all of them, unless the step was skipped.

    Args:
      most_skipped: steps that may have been skipped so far, because their loss or gradient was no number.

    Raises:
      NonFiniteLossError: some are no numbers and the step wasn't skipped, or too many steps were.
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


_REMEDY = (
    "Start a new --workdir with a "
    "lower config.optimizer.peak or clip_norm; --config.init_from=THIS_WORKDIR takes over the weights "
    "of its last checkpoint, if it has one"
)
