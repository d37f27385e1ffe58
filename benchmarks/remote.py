"""A side of a benchmark in a process of its own: it reads lines, and answers each with a line of JSON."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable


class Remote:
    """A process that first tells facts, when it is ready, and then answers whenever it is asked.

    Args:
      module: Of `benchmarks`; its flag `--serve` makes it a side.
      name: The side.
      flags: Other flags.
      environment: Variables beside this process's own.
    """

    def __init__(self, module: str, name: str, flags: Iterable[str], environment: dict[str, str]):
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}", "--serve", name, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self.facts: dict = {}
        self.answers: list[dict] = []

    def ready(self, until: float = float("inf")) -> bool:
        """Waits for its facts, up to a time of `time.monotonic`; raises RuntimeError if it ended."""
        left = None if until == float("inf") else max(0.0, until - time.monotonic())
        if not self.facts and select.select([self._process.stdout], [], [], left)[0]:
            self.facts = self._read()
        return bool(self.facts)

    def ask(self) -> dict:
        """Has it make a turn; returns its answer."""
        assert self._process.stdin is not None  # a pipe
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.answers.append(self._read())
        return self.answers[-1]

    def close(self) -> None:
        """Ends it; one that isn't ready can't hear that it is to end, and is killed."""
        assert self._process.stdin is not None  # a pipe
        if not self.facts:
            self._process.kill()
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict:
        assert self._process.stdout is not None  # a pipe
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")
        return json.loads(line)
