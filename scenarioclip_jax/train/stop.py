"""SIGTERM and Ctrl-C as a request that the run looks at between two pieces of work."""

import os
import signal
import threading

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """While entered, the first SIGTERM or SIGINT only sets a flag; a second SIGINT interrupts at once.

    In a job of several processes a signal may reach one of them, or each at another moment. There JAX's
    preemption service watches for SIGTERM: it spreads the word and agrees on a moment that no process has
    passed. Moments are counted by calls, so every process has to ask at the same places in its work.
    """

    def __init__(self):
        self._event = threading.Event()
        self._previous = {}
        self._alone = jax.process_count() == 1
        self._calls = 0

    def __enter__(self) -> "StopRequest":
        # Signals can only be handled by the main thread; elsewhere (a notebook's worker) they stay as
        # they are.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT) if self._alone else (signal.SIGINT,):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number, frame) -> None:
        del frame
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._alone:
            self._event.set()
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for and, among several processes, agreed on."""
        return self._event.is_set()

    def __call__(self) -> bool:
        """Whether to stop here: the same answer in every process."""
        self._calls += 1
        if not self._alone and not self.requested:
            if multihost_utils.reached_preemption_sync_point(self._calls):
                self._event.set()
        return self.requested
