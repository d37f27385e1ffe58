"""A command that is told to stop removes what is unfinished, then ends with 128 plus the signal's number."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Stopped(BaseException):
    """SIGINT, SIGTERM or SIGHUP came. No Exception, so that no library takes it for a failure to mend."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Stopping:
    """Whether a signal came; see `stop_signals`."""

    def __init__(self) -> None:
        self._came: int | None = None
        self._finishing = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self._finishing:
            return
        self._came = number
        raise Stopped(number)

    def finish(self) -> None:
        """Call it right before the step that makes a result visible: from here on signals are ignored.

        Raises:
          Stopped: a signal came, but its exception was lost. Python discards what is raised while it destroys
            an object or calls back from C, and a handler runs wherever the program happens to be.
        """
        self._finishing = True
        if self._came is not None:
            raise Stopped(self._came)


@contextlib.contextmanager
def stop_signals() -> Iterator[Stopping]:
    """Raises Stopped in the main thread when SIGINT, SIGTERM or SIGHUP comes.

    A signal that the parent had ignored stays ignored. Outside the main thread no handler can be set, so
    signals keep doing what they did.
    """
    stopping = Stopping()
    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            handler = signal.getsignal(number)
            if handler is not signal.SIG_IGN:
                signal.signal(number, stopping.handle)
                before[number] = handler
    except ValueError:
        pass
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
