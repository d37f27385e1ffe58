"""Runs `main` as a job of several processes on this machine."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from scenarioclip_jax.parallel import distributed
from tests.harness.started import with_default_signals
from tests.train import tiny

ON_PATH = Path(__file__).with_name("on_path")  # no PyTorch, and less collecting of garbage


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(devices: int, processes: int = 1) -> dict[str, str]:
    """This process's, with so many simulated devices, without PyTorch, and with `on_path/sitecustomize.py`."""
    kept = {k: v for k, v in os.environ.items() if k not in distributed.VARIABLES}
    if processes > 1 and (cache := kept.get("JAX_COMPILATION_CACHE_DIR")):
        # Apart from those of one process, and only what takes long. The first process writes, and all read;
        # which devices a program runs on is said when it is loaded (on CPUs: see XLA's issue 18286).
        kept["JAX_COMPILATION_CACHE_DIR"] = f"{cache}-of-{processes}-processes"
        kept["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    simulated = f"--xla_force_host_platform_device_count={devices}"
    simulated += " --xla_backend_optimization_level=0"
    path = os.pathsep.join(filter(None, [str(ON_PATH), os.environ.get("PYTHONPATH")]))
    return kept | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": simulated, "PYTHONPATH": path}


def arguments(workdir, data, **changes) -> list[str]:
    """What `main` is called with; `changes` as in `tiny.flags`."""
    return [f"--config={tiny.CONFIG}", *tiny.flags(data, **changes), f"--workdir={workdir}"]


def places(processes: int) -> list[list[str]]:
    """The flags that make each of some processes part of one job."""
    if processes == 1:
        return [[]]
    together = [f"--coordinator-address=127.0.0.1:{free_port()}", f"--num-processes={processes}"]
    return [[*together, f"--process-id={i}"] for i in range(processes)]


def run_together(module: str, args: list, processes: int, devices: int = 4) -> None:
    """Runs a module as one job of several processes, which have so many devices in all."""
    command = [sys.executable, "-m", module, *map(str, args)]
    started = [
        subprocess.Popen(
            [*command, *place],
            env=environment(devices // processes, processes),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for place in places(processes)
    ]
    try:
        said = [process.communicate(timeout=600)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * processes, "\n".join(said)


class Job:
    """`processes` x `devices` running one `main`; output is collected by process.

    Args:
      file_size: bytes that a file may have, if not 0.
      program: what Python runs.
    """

    def __init__(
        self,
        workdir,
        data,
        *,
        processes=1,
        devices=1,
        steps=6,
        file_size=0,
        program=("-m", "scenarioclip_jax.main"),
        **changes,
    ):
        command = [sys.executable, *program]
        command += arguments(workdir, data, steps=steps, **changes)
        self.processes = [
            subprocess.Popen(
                # By flags; launch/local.sh does the same by the environment.
                with_default_signals([*command, *place], file_size=file_size),
                env=environment(devices, processes),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for place in places(processes)
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
            reader.join(60)
        assert found == [status] * len(found), "\n".join(self.output)
        return self.output[0]
