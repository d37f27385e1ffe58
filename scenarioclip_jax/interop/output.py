"""Output that appears only when it is complete, takes little memory and shows how far it is."""

import collections
import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.progress_bar import progress_bar


def check_absent(path: Path) -> None:
    """Raises CheckpointError if something is at `path` already: nothing is ever overwritten."""
    if path.resolve() == Path.cwd():  # it would have to be replaced under the user's feet
        raise CheckpointError(f"{path}: the folder you are in; choose one below it as --output")
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise CheckpointError(f"{path}: exists already; remove it or choose another --output")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a folder to write to, which becomes `path` at the end and is removed if anything goes wrong.

    What a killed process left behind is called `.NAME.partial`; the next try removes it.
    """
    check_absent(path)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.is_dir():  # empty, as checked
            path.rmdir()
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def on_device(*parts: dict[str, np.ndarray]) -> list[dict[str, jax.Array]]:
    """Moves arrays into JAX's memory, which Orbax writes without a copy. Empties `parts` on the way.

    An array that appears several times (levels that start alike) is moved once.
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
    """A bar that shows how much of `size` bytes is below `folder`, for writers that tell nothing."""
    done = threading.Event()
    with progress_bar(total=size, desc=text, unit="B", unit_scale=True, delay=1) as bar:

        def watch() -> None:
            while not done.wait(0.5):
                written = 0
                for path in folder.rglob("*"):
                    with contextlib.suppress(OSError):  # Orbax renames while it writes
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
