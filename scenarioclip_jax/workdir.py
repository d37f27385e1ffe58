"""The folder that a run writes to: a local one, or the mirror of one in a bucket."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.lock import hold, own
from scenarioclip_jax.parallel.distributed import values_of_all
from scenarioclip_jax.paths import Address, address_of, local_path
from scenarioclip_jax.storage.workdir import Mirror


class Workdir(NamedTuple):
    """A run's folder, which this run holds.

    Attributes:
      name: The folder as the user gave it, for messages.
      folder: The local folder. With several processes and an address, each machine has its own.
      mirror: What uploads the folder, if it is that of an address.
    """

    name: str
    folder: Path
    mirror: Mirror | None


@contextlib.contextmanager
def open_workdir(
    place: str | Path,
    check: Callable[[Path], None],
    stop: Callable[[], bool] = lambda: False,
    *,
    checkpoints: bool = True,
) -> Iterator[Workdir]:
    """Holds a workdir while a run writes there. An address is uploaded as a whole at the end.

    Args:
      place: The path or address.
      check: Called with the local folder before anything is written to a local workdir.
      stop: Returns True to stop waiting for another run.
      checkpoints: Whether the checkpoints of an address are copied, see `Mirror.fetch`.

    Raises:
      ConfigError: Another run holds the workdir.
      StorageError: An address can't be read or written.
    """
    address = address_of(place)
    if address is None:
        folder = local_path(place)
        check(folder)
        with hold(folder):
            yield Workdir(str(place), folder, None)
        return
    mirror, first = Mirror(address), jax.process_index() == 0
    with contextlib.ExitStack() as at_end:
        with _together(address, "the workdir is held"):
            if first:
                at_end.enter_context(own(mirror.folder, str(address)))
                at_end.callback(mirror.release)
                mirror.take(stop)
                mirror.fetch(checkpoints=checkpoints)
        with _together(address, "the workdir is copied"):
            if not first:
                mirror.follow()
            check(mirror.folder)
        if first:
            at_end.push(_last_upload(mirror))
        yield Workdir(str(address), mirror.folder, mirror)


def _last_upload(mirror: Mirror) -> Callable:
    def upload(kind, error, trace) -> None:
        try:
            mirror.upload(end=error is None)
        except ReadableError as also:
            if error is None:
                raise
            say(f"what was written last couldn't be uploaded, either: {also}")

    return upload


@contextlib.contextmanager
def _together(address: Address, where: str) -> Iterator[None]:
    """Ends all processes where one of them can't go on."""
    failed = None
    try:
        yield
    except ReadableError as error:
        failed = error
    if any(values_of_all(failed is not None, where)):
        raise failed or ConfigError(f"--workdir={address}: another process can't use it")


def local_folder(place: str | Path) -> Path:
    """The local folder of a workdir, whether it is there or not."""
    address = address_of(place)
    return local_path(place) if address is None else Mirror(address).folder
