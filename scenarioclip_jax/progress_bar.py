"""Progress of long work: a bar on a terminal, or an occasional line in a log file or a notebook."""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

from scenarioclip_jax.console import say

EVERY = 60.0  # seconds between two lines in a log


def progress_bar(
    iterable: Iterable | None = None,
    desc: str = "",
    total: int | None = None,
    say_end: bool = False,
    **arguments,
):
    """Returns a `tqdm.tqdm` bar, or `Lines` if standard error isn't a terminal.

    Args:
      say_end: Whether a log also gets a line at the end, however short the work was.
      arguments: Arguments of tqdm, such as `unit`, `disable`, `delay`, `mininterval`.
    """
    if arguments.get("disable") or sys.stderr.isatty():
        return tqdm(iterable, desc, total, **arguments)
    unit, scale = arguments.get("unit", ""), arguments.get("unit_scale")
    return Lines(iterable, desc, total, unit, scale, say_end)


class Lines:
    """Replaces a bar, which would fill a log, by a line every EVERY seconds; short work prints none."""

    def __init__(
        self, iterable, desc: str, total: int | None, unit: str, scale: bool | None, say_end: bool
    ):
        if total is None and hasattr(iterable, "__len__"):
            total = len(iterable)
        self._iterable, self.desc, self.total = iterable, desc, total
        self._unit, self._scale = unit.strip(), scale
        self.n, self._said, self._say_end = 0, time.monotonic(), say_end

    def __iter__(self) -> Iterator:
        for item in self._iterable:
            yield item
            self.update()
        self.close()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        self.n += count
        now = time.monotonic()
        if now - self._said >= EVERY:
            self._said = now
            say(self._line(), error=True)

    def close(self) -> None:
        """Prints the last line if `say_end`; otherwise nothing, since callers usually report the result."""
        if self._say_end:
            self._say_end = False
            say(self._line(), error=True)

    def set_description(self, desc: str, refresh: bool = True) -> None:
        self.desc = desc

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        pass

    def refresh(self) -> None:
        pass

    def _line(self) -> str:
        number = tqdm.format_sizeof if self._scale else "{:,}".format
        text = f"{self.desc}: " if self.desc else ""
        text += number(self.n)
        if self.total:
            text += f"/{number(self.total)} ({self.n / self.total:.0%})"
        return f"{text} {self._unit}".rstrip()
