"""Signals as a request to stop, which the run checks between pieces of work."""

import contextlib
import os
import signal
import socket
import threading

import jax
from jax.experimental import multihost_utils

from scenarioclip_jax.console import say

# Ctrl-C, a closed terminal, and the signals that schedulers send before a time limit or a preemption.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class StopRequest:
    """While entered, the first of `SIGNALS` only sets a flag; a second Ctrl-C ends the process at once.

    A signal that was ignored when the process started stays ignored: `nohup` and a script's `&` use this to say
    that the signal isn't meant for this process.

    A thread answers signals, because Python runs its own handlers only between instructions of the main thread,
    and a compilation is a single instruction that may take minutes.

    In a job of several processes a signal may reach only one of them, or each at a different moment. There
    JAX's preemption service watches for SIGTERM: it tells all processes and picks a moment that none has
    passed. Moments are counted in calls, so every process has to call at the same points in its work.
    """

    def __init__(self):
        self._event = threading.Event()
        self._alone = jax.process_count() == 1
        self._calls = 0
        self._interrupts = 0
        self._restore = contextlib.ExitStack()

    def __enter__(self) -> "StopRequest":
        # Only the main thread can handle signals; elsewhere (a notebook's worker) they stay as they are.
        if threading.current_thread() is threading.main_thread():
            self._listen()
        return self

    def __exit__(self, *_) -> None:
        self._restore.close()

    def _listen(self) -> None:
        heard, told = socket.socketpair()
        told.setblocking(False)
        previous = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        thread = threading.Thread(
            target=self._answer, args=(heard,), daemon=True, name="answers signals"
        )
        thread.start()

        def end() -> None:
            signal.set_wakeup_fd(previous)
            told.close()  # ends the thread
            thread.join()
            heard.close()

        self._restore.callback(end)
        for number in SIGNALS:
            if number == signal.SIGTERM and not self._alone:
                continue  # JAX's
            if signal.getsignal(number) is not signal.SIG_IGN:
                # The handler has nothing to do; without one, the signal would end the process.
                self._restore.callback(
                    signal.signal, number, signal.signal(number, lambda *_: None)
                )

    def _answer(self, heard: socket.socket) -> None:
        while numbers := heard.recv(64):
            for number in numbers:
                if number in SIGNALS:
                    self.notice(signal.Signals(number))

    def notice(self, number: signal.Signals) -> None:
        """Reacts to a signal."""
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            say("interrupted again: ended at once; what was saved before is whole", error=True)
            os._exit(128 + signal.SIGINT)
        again = ". Ctrl-C again ends it at once, without saving"
        self._ask(number.name, again if number == signal.SIGINT else "", number == signal.SIGTERM)

    def ask(self, why: str) -> None:
        """Requests a stop for a reason that arose in this process."""
        self._ask(why)

    def _ask(self, why: str, hint: str = "", jax_knows: bool = False) -> None:
        if not self.requested:
            say(
                f"{why}: the run saves and stops as soon as the work at hand is done{hint}",
                error=True,
            )
        if self._alone:
            self._event.set()
        elif not jax_knows:
            os.kill(os.getpid(), signal.SIGTERM)

    @property
    def requested(self) -> bool:
        """Whether a stop was requested and, with several processes, agreed on."""
        return self._event.is_set()

    def __call__(self) -> bool:
        """Whether to stop here: the same answer in every process."""
        self._calls += 1
        if not self._alone and not self.requested:
            if multihost_utils.reached_preemption_sync_point(self._calls):
                self._event.set()
        return self.requested
