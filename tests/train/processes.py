"""Runs `main` as a job of several processes on this machine."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from tests.train import tiny

WITHOUT_TORCH = Path(__file__).with_name("without_torch")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(devices: int, processes: int = 1) -> dict[str, str]:
    """This process's, with `devices` simulated devices and without PyTorch."""
    dropped = {"JAX_PROCESS_ID", "JAX_NUM_PROCESSES"}
    if processes > 1:  # a program of several processes is compiled, not read: see XLA's issue 18286
        dropped.add("JAX_COMPILATION_CACHE_DIR")
    kept = {k: v for k, v in os.environ.items() if k not in dropped}
    simulated = f"--xla_force_host_platform_device_count={devices}"
    simulated += " --xla_backend_optimization_level=0"
    path = os.pathsep.join(filter(None, [str(WITHOUT_TORCH), os.environ.get("PYTHONPATH")]))
    return kept | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": simulated, "PYTHONPATH": path}


def arguments(workdir, data, **changes) -> list[str]:
    """What `main` is called with; `changes` as in `tiny.flags`."""
    return [f"--config={tiny.CONFIG}", *tiny.flags(data, **changes), f"--workdir={workdir}"]


class Job:
    """`processes` x `devices` running one `main`; output is collected by process.

    Args:
      preexec: called in every process before the command.
    """

    def __init__(self, workdir, data, *, processes=1, devices=1, steps=6, preexec=None, **changes):
        command = [sys.executable, "-m", "scenarioclip_jax.main"]
        command += arguments(workdir, data, steps=steps, **changes)
        together = {}
        if processes > 1:
            together["JAX_COORDINATOR_ADDRESS"] = f"127.0.0.1:{free_port()}"
            together["JAX_NUM_PROCESSES"] = str(processes)
        self.processes = [
            subprocess.Popen(
                command,
                env=environment(devices, processes)
                | together
                | ({"JAX_PROCESS_ID": str(i)} if together else {}),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                preexec_fn=preexec,
            )
            for i in range(processes)
        ]
        self.output = ["" for _ in self.processes]
        self._watched = re.compile("$^")
        self._seen = threading.Event()
        self._readers = [
            threading.Thread(target=self._read, args=(i,), daemon=True) for i in range(processes)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, index):
        for line in self.processes[index].stdout:
            self.output[index] += line
            if self._watched.match(line):
                self._seen.set()

    def wait_for(self, pattern: str, seconds=600) -> None:
        """Returns when a process prints a line that begins with `pattern`."""
        self._watched = re.compile(pattern)
        if any(re.search(pattern, text, re.MULTILINE) for text in self.output):
            return
        assert self._seen.wait(seconds), "\n".join(self.output)

    def signal(self, index: int, number=signal.SIGTERM) -> None:
        self.processes[index].send_signal(number)

    def finish(self, status=0, seconds=600) -> str:
        """Waits for all processes and returns the output of the first."""
        try:
            found = [process.wait(seconds) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        for reader in self._readers:
            reader.join(10)
        assert found == [status] * len(found), "\n".join(self.output)
        return self.output[0]
