"""SIGTERM and Ctrl-C as a request that the run looks at between two pieces of work."""

import signal
import threading


class StopRequest:
    """While entered, the first SIGTERM or SIGINT only sets a flag; a second SIGINT interrupts at once."""

    def __init__(self):
        self._event = threading.Event()
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        # Signals can only be handled by the main thread; elsewhere (a notebook's worker) they stay as
        # they are.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number, frame) -> None:
        del frame
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._event.set()

    def __call__(self) -> bool:
        return self._event.is_set()
