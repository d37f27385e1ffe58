"""Progress of long work: a bar on a terminal; in a log file or a notebook a line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

EVERY = 60.0  # seconds between two lines of a log


def progress_bar(
    iterable: Iterable | None = None,
    desc: str = "",
    total: int | None = None,
    say_end: bool = False,
    **arguments,
):
    """As `tqdm.tqdm`, but for where its standard error isn't a terminal: there `Lines` tells how far it is.

    Args:
      say_end: a log also gets a line at the end, however short the work was.
      arguments: tqdm's own, such as `unit`, `disable`, `delay`, `mininterval`.
    """
    if arguments.get("disable") or sys.stderr.isatty():
        return tqdm(iterable, desc, total, **arguments)
    unit, scale = arguments.get("unit", ""), arguments.get("unit_scale")
    return Lines(iterable, desc, total, unit, scale, say_end)


class Lines:
    """In place of a bar that would fill a log: a line every EVERY seconds, so none of short work."""

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
            print(self._line(), file=sys.stderr, flush=True)

    def close(self) -> None:
        """The end; of most work, whoever started it says what came of it."""
        if self._say_end:
            self._say_end = False
            print(self._line(), file=sys.stderr, flush=True)

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
