"""Several processes as one job: JAX's own runtime connects them; a scheduler starts them."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError

MULTIHOST = ("auto", "yes", "no")
# What describes a process's place in a job: as flags, and as environment variables.
FLAGS = ("--coordinator-address", "--num-processes", "--process-id")
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
ARGUMENTS = ("coordinator_address", "num_processes", "process_id")


class DistributedError(ReadableError, ValueError):
    """Flags or environment don't describe a complete job. The message names them."""


def start(multihost: str = "auto", place: Sequence[str | int | None] = (None, None, None)) -> None:
    """Joins the job that flags or the environment describe; does nothing for a single process.

    Call it before anything asks JAX for devices.

    Args:
      multihost: `auto` joins if JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID are set, or in a
        Slurm step of several tasks; `yes` leaves detection to JAX (for TPU VMs and TPUs on Kubernetes, which
        can't be told from a single machine without asking a metadata server); `no` never joins.
      place: Values of the three `FLAGS`, None for those not given. They take precedence over the environment.

    Raises:
      DistributedError: The description of the job is incomplete.
    """
    arguments = _arguments(multihost, place)
    if arguments is not None:
        import jax

        size = arguments.get("num_processes") or os.environ.get("SLURM_STEP_NUM_TASKS")
        say(
            f"joining a job of {size or 'several'} processes, waiting for all of them to start "
            "(--multihost=no runs this one alone)",
            error=True,
        )
        jax.distributed.initialize(**arguments)


def _arguments(multihost: str, place: Sequence[str | int | None]) -> dict | None:
    """Arguments of `jax.distributed.initialize`; None if there is no job to join."""
    given = {
        name: str(value) for name, value in zip(FLAGS, place, strict=True) if value is not None
    }
    if given:
        if multihost != "auto":
            raise DistributedError(
                f"{', '.join(given)} and --multihost={multihost}: give one or the other"
            )
        return _whole_job(given, FLAGS)
    if multihost == "no":
        return None
    environment = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if multihost == "yes":
        # JAX reads the address from the environment, but not the two numbers.
        named = zip(VARIABLES[1:], ARGUMENTS[1:], strict=True)
        return {key: int(environment[name]) for name, key in named if name in environment}
    if environment.keys() & set(VARIABLES[1:]):
        return _whole_job(environment, VARIABLES)
    # Only inside a step: an allocation's variables are also set in its interactive shell.
    if "SLURM_STEP_NODELIST" in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return {"cluster_detection_method": "slurm"}
    return None


def _whole_job(given: dict[str, str], names: Sequence[str]) -> dict:
    """The address, the number of processes and the index of this one, all of which must be given and valid."""
    missing = [name for name in names if name not in given]
    if missing:
        raise DistributedError(
            f"{', '.join(sorted(given))} set without {', '.join(sorted(missing))}: a job of several processes "
            "needs all three; set them, or unset all, or give --multihost=no"
        )
    address, count, index = (given[name] for name in names)
    for name, value in zip(names[1:], (count, index), strict=True):
        if not value.isdecimal():
            raise DistributedError(f"{name}={value!r}: must be a whole number")
    if int(index) >= int(count):
        raise DistributedError(f"{names[2]}={index}: must be below {names[1]}={count}")
    return dict(zip(ARGUMENTS, (address, int(count), int(index)), strict=True))


def wait_for_all(where: str, minutes: int = 60) -> None:
    """Waits until every process is here, through the coordination service rather than a collective.

    On CPU, all partners of a collective must arrive within half a minute. Processes that compile at different
    speeds (one of them from its cache) don't.
    """
    from orbax.checkpoint import multihost

    multihost.get_barrier_sync_fn()(key=where, timeout_ms=minutes * 60_000)


def values_of_all(value: int, where: str) -> list[int]:
    """Returns the `value` of every process in every process; all call it at the same point, named `where`."""
    import jax
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return [value]
    wait_for_all(where)
    return multihost_utils.process_allgather(np.int32(value)).tolist()


def union(values: Iterable[int], where: str) -> set[int]:
    """Returns the union of all processes' `values`, integers of 0 or more; called like `values_of_all`."""
    import jax
    from jax.experimental import multihost_utils

    own = sorted(values)
    if jax.process_count() == 1:
        return set(own)
    most = max(values_of_all(len(own), where))
    padded = np.full(most, -1, np.int32)  # padded to one length, as a collective requires
    padded[: len(own)] = own
    return set(multihost_utils.process_allgather(padded).flatten().tolist()) - {-1}


class Board:
    """Short texts by name, which each process of a job can write and read at any time without the others.

    JAX's coordination service stores them.

    Args:
      title: Title of the board. Opening the same title again gives a new board, in every process.
    """

    _opened: ClassVar[Counter[str]] = Counter()

    def __init__(self, title: str):
        from orbax.checkpoint import multihost

        self._client = multihost.get_jax_distributed_client()
        self._folder = f"scenarioclip/{title}/{self._opened[title]}/"
        self._opened[title] += 1

    def write(self, name: str, text: str) -> None:
        """Writes a text under a name such as "end/3"."""
        self._client.key_value_set(self._folder + name, text, allow_overwrite=True)

    def read(self, prefix: str) -> dict[str, str]:
        """Reads the texts under names that begin with `prefix`, such as "end/", by the rest of the name."""
        found = self._client.key_value_dir_get(self._folder + prefix)
        start = len(self._folder + prefix)
        return {name[start:]: text for name, text in found}


def leave(status: int) -> None:
    """Ends this process after a failure; returns if it is the only one.

    An ordinary exit would wait for the other processes, which wait for this one in a collective. Once it is
    gone, JAX's coordination service ends them within its heartbeat timeout, unless a launcher does so first.
    """
    import jax

    if jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
