"""Signals as a request to stop that the run looks at between two pieces of work."""

import contextlib
import os
import signal
import socket
import sys
import threading

import jax
from jax.experimental import multihost_utils

# Ctrl-C, the end of a terminal, and what schedulers send before a time limit or a preemption.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class StopRequest:
    """While entered, the first of `SIGNALS` only sets a flag; a second Ctrl-C ends the process at once.

    A signal that was ignored when the process started stays ignored: that is how `nohup` and a script's `&` say
    that it isn't meant for this process.

    Signals are answered by a thread, because Python calls its own handlers only between two of the main
    thread's instructions, and a compilation is a single one that may take minutes.

    In a job of several processes a signal may reach one of them, or each at another moment. There JAX's
    preemption service watches for SIGTERM: it spreads the word and agrees on a moment that no process has
    passed. Moments are counted by calls, so every process has to ask at the same places in its work.
    """

    def __init__(self):
        self._event = threading.Event()
        self._alone = jax.process_count() == 1
        self._calls = 0
        self._interrupts = 0
        self._restore = contextlib.ExitStack()

    def __enter__(self) -> "StopRequest":
        # Signals can only be handled by the main thread; elsewhere (a notebook's worker) they stay as
        # they are.
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
        """Does what a signal asks for."""
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            _say("interrupted again: ended at once; what was saved before is whole")
            os._exit(128 + signal.SIGINT)
        again = ". Ctrl-C again ends it at once, without saving"
        self._ask(number.name, again if number == signal.SIGINT else "", number == signal.SIGTERM)

    def ask(self, why: str) -> None:
        """Asks for a stop for a reason of this process."""
        self._ask(why)

    def _ask(self, why: str, hint: str = "", jax_knows: bool = False) -> None:
        if not self.requested:
            _say(f"{why}: the run saves and stops as soon as the work at hand is done{hint}")
        if self._alone:
            self._event.set()
        elif not jax_knows:
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


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # the terminal may be what has just gone
        print(text, file=sys.stderr, flush=True)
