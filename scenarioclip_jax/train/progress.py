"""Console lines of a training run: its progress, its speed and the time left."""

import contextlib
import math
import threading
import time
from collections.abc import Callable

from scenarioclip_jax.console import say


class Progress:
    """Prints one line at each report.

    Args:
      steps: Steps of the whole run.
      scenes: Scenes in a global batch.
      flops: Model FLOPs of a step: all towers and the losses, see `costs.flops`.
      peak: Peak FLOP/s of all devices together; None if unknown, which leaves out MFU.
      quiet: Whether to print nothing, as in all processes but the first.
      closed: Called with the reason when nothing can be printed any more.
    """

    def __init__(
        self,
        steps: int,
        scenes: int,
        *,
        flops: int,
        peak: float | None,
        start: int,
        quiet: bool,
        closed: Callable[[str], None] = lambda why: None,
    ):
        self._closed = closed
        self._steps, self._scenes, self._quiet = steps, scenes, quiet
        self._flops, self._peak = flops, peak
        self._step, self._time, self._waited = start, time.perf_counter(), 0.0

    def waited(self, seconds: float) -> None:
        """Adds to the time since the last report in which, for lack of data, no step was being computed."""
        self._waited += seconds

    def report(self, step: int, metrics: dict[str, float]) -> dict[str, float]:
        """Prints the line of a step; returns what was measured since the previous line."""
        now = time.perf_counter()
        elapsed, done = max(now - self._time, 1e-9), max(step - self._step, 1)
        measured = {
            "time/scenes_per_second": done * self._scenes / elapsed,
            "time/data_wait_share": self._waited / elapsed,
            "time/model_flops_per_second": done * self._flops / elapsed,
        }
        used = f"{measured['time/model_flops_per_second'] / 1e12:.3g} TFLOP/s"
        if self._peak:
            measured["time/mfu"] = measured["time/model_flops_per_second"] / self._peak
            used = f"MFU {measured['time/mfu']:.1%}"
        left = (self._steps - step) * elapsed / done
        loss = metrics.get("loss/total")
        shown = "is no number, step left out" if loss is None else f"{loss:.3f}"
        self.say(
            f"step {step}/{self._steps}  loss {shown}  "
            f"rate {metrics['learning_rate']:.1e}  "
            f"{measured['time/scenes_per_second']:.1f} scenes/s  {used}  "
            f"data wait {measured['time/data_wait_share']:.0%}  {duration(left)} left"
        )
        self.restart(step)
        return measured

    def restart(self, step: int) -> None:
        """Excludes what happened since the last report (a validation, a compilation) from the rates."""
        self._step, self._time, self._waited = step, time.perf_counter(), 0.0

    def say(self, text: str) -> None:
        if self._quiet:
            return
        if why := say(text):
            self._quiet = True
            self._closed(f"standard output can't be written to any more ({why})")


def when_computed(array) -> Callable[[], float]:
    """Returns a function that tells when an array was computed: infinity until it is."""
    found = math.inf

    def wait() -> None:
        nonlocal found
        with contextlib.suppress(Exception):  # whoever reads the array gets the error
            array.block_until_ready()
        found = time.perf_counter()

    threading.Thread(target=wait, daemon=True, name="waiting for a step").start()
    return lambda: found


def duration(seconds: float) -> str:
    """`1h02m`, `3m20s`, `12s`."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 60}m{seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"
