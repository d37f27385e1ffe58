"""Output that appears only when complete, takes little memory and shows its progress."""

import collections
import contextlib
import errno
import fcntl
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.paths import Address
from scenarioclip_jax.progress_bar import progress_bar
from scenarioclip_jax.storage.bucket import Bucket
from scenarioclip_jax.storage.output import spool, upload

LOCK = ".lock"
# The file system has no locks; distinct names keep two conversions apart there too.
_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL)


def check_absent(path: Path) -> None:
    """Raises CheckpointError if `path` already exists, because nothing is ever overwritten."""
    if path.resolve() == Path.cwd():  # the user's working directory would have to be replaced
        raise CheckpointError(f"{path}: the folder you are in; choose one below it as --output")
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise CheckpointError(f"{path}: exists already; remove it or choose another --output")
    if path.is_mount():
        raise CheckpointError(f"{path}: a mount point; choose a folder below it as --output")


@contextlib.contextmanager
def new_output(path: Path | Address, before_visible: Callable[[], None]) -> Iterator[Path]:
    """Yields a folder to write to, which becomes `path` at the end; for an address, its files are copied there.

    Args:
      before_visible: Called once all is written, right before it appears.

    Raises:
      CheckpointError: There is something at `path`, or another conversion writes there.
      StorageError: The address can't be used.
    """
    if isinstance(path, Path):
        with new_folder(path) as work:
            yield work
            before_visible()
        return
    if Bucket(path).list():
        raise CheckpointError(f"{path}: exists already; remove it or choose another --output")
    folder = spool(path)
    if folder.exists():
        shutil.rmtree(folder)  # of a conversion that couldn't be copied
    with new_folder(folder) as work:
        yield work
    # Whatever reads a model looks for one of these first.
    ends = ("model.json", "config.json", "pytorch_model.bin")
    upload(folder, path, last=lambda name: name in ends, before_visible=before_visible)
    shutil.rmtree(folder)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a folder to write to, which becomes `path` at the end and is removed if anything goes wrong.

    Until then it is `.NAME.partial` beside `path`, which only one conversion at a time may hold. Leftovers of a
    killed process are removed by the next attempt. A link is followed, and the folder it points to is made.

    Raises:
      CheckpointError: `path` already exists, or another conversion writes there.
    """
    try:
        path = path.resolve()
    except (OSError, RuntimeError) as error:  # links that point to each other
        raise CheckpointError(f"{path}: {error}; choose another --output") from None
    if path.is_symlink():  # from Python 3.13 on, these are no error
        raise CheckpointError(f"{path}: links in a loop; choose another --output")
    check_absent(path)
    partial = path.with_name(f".{path.name}.partial")
    with _own(partial) as alone:
        check_absent(path)  # the previous one may have just finished
        if alone:
            _remove_all_but_lock(partial)
        work = partial / uuid.uuid4().hex
        work.mkdir()
        try:
            yield work
            _publish(work, path)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _publish(work: Path, path: Path) -> None:
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    try:
        work.rename(path)
    except OSError as error:
        if path.exists():  # made while this one was working
            raise CheckpointError(
                f"{path}: exists by now; another process made it. Remove it or choose another --output"
            ) from error
        raise


@contextlib.contextmanager
def _own(partial: Path) -> Iterator[bool]:
    """Makes a folder and holds it for this process, then removes it; yields False if there are no locks.

    The system releases it when the process ends, however it ends.
    """
    while True:
        try:
            partial.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if partial.exists():
                raise
            continue  # whoever had it removed it just after this one found it there
        with contextlib.ExitStack() as at_end:
            try:
                file = at_end.enter_context((partial / LOCK).open("a+", encoding="utf-8"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = os.fstat(file.fileno()).st_ino == (partial / LOCK).stat().st_ino
            except BlockingIOError:
                output = partial.with_name(partial.name[1:].removesuffix(".partial"))
                raise CheckpointError(
                    f"{output}: another conversion writes there; wait for its end or choose another --output"
                ) from None
            except FileNotFoundError:
                continue  # its owner has just removed it
            except OSError as error:
                if error.errno not in _WITHOUT_LOCKS:
                    raise
                alone = False
            else:
                alone = True
                if not held:
                    continue
            try:
                yield alone
            finally:
                if alone or all(entry.name == LOCK for entry in partial.iterdir()):
                    shutil.rmtree(partial, ignore_errors=True)
            return


def _remove_all_but_lock(partial: Path) -> None:
    for entry in partial.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != LOCK:
            entry.unlink(missing_ok=True)


def on_device(*parts: dict[str, np.ndarray]) -> list[dict[str, jax.Array]]:
    """Moves arrays into JAX's memory, from which Orbax writes without a copy. Empties `parts` on the way.

    An array that appears several times (levels with the same start) is moved once.
    """
    moved: dict[int, jax.Array] = {}
    kept = []  # ids are only unique while their arrays live
    results = []
    counts = collections.Counter(id(value) for part in parts for value in part.values())
    for part in parts:
        result = {}
        for path in list(part):
            value = part.pop(path)
            if counts[id(value)] == 1:
                result[path] = jnp.asarray(value)
                continue
            if id(value) not in moved:
                moved[id(value)] = jnp.asarray(value)
                kept.append(value)
            result[path] = moved[id(value)]
        results.append(result)
    return results


@contextlib.contextmanager
def progress(folder: Path, size: int, text: str) -> Iterator[None]:
    """Shows a bar of how much of `size` bytes is below `folder`, for writers that report no progress."""
    done = threading.Event()
    with progress_bar(total=size, desc=text, unit="B", unit_scale=True, delay=1) as bar:

        def watch() -> None:
            while not done.wait(0.5):
                written = 0
                # Orbax renames files and folders while it writes, so listing them may fail, too.
                with contextlib.suppress(OSError):
                    for path in folder.rglob("*"):
                        with contextlib.suppress(OSError):
                            written += path.stat().st_size
                # Files are compressed, so the bar may not reach its end.
                bar.update(min(written, size) - bar.n)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
            bar.update(size - bar.n)
        finally:
            done.set()
            thread.join()
