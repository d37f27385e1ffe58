"""Local copies of what lies in a bucket, made before it is read.

    ~/.cache/scenarioclip_jax/storage/copies/NAME-DIGEST/   an address
        VERSION/...                                         its objects; the version is a digest of the listing
        VERSION.complete                                    once all of them are there and were checked
        VERSION.used                                        locked by processes that read it

What was replaced in the bucket has another version, so nothing is ever read from an old copy. An old version is
removed when nobody reads it any more.
"""

import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from scenarioclip_jax.console import say
from scenarioclip_jax.paths import Address, address_of, local_path
from scenarioclip_jax.progress_bar import progress_bar
from scenarioclip_jax.storage.bucket import Bucket, Entry, StorageError

ROOT = "~/.cache/scenarioclip_jax/storage"
THREADS = 16  # files that are copied at once
SPARE = 100_000_000  # bytes that a copy leaves free on the disk
_ATTEMPTS = 3  # to copy what changes meanwhile

Listing = dict[str, Entry]
# Locks of the copies that this process reads; the system releases them when it ends.
_in_use: dict[Path, IO[str]] = {}


def place_of(address: Address, kind: str) -> Path:
    """The folder in the cache for one address and one purpose."""
    digest = hashlib.sha256(str(address).encode()).hexdigest()[:12]
    return local_path(ROOT) / kind / f"{address.name}-{digest}"


def local_copy(
    path: str | Path,
    *,
    only: Callable[[Listing], Listing] = lambda found: found,
    check: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Returns a local path as it is, and for an address a copy of the folder or file there.

    Args:
      path: The path or address.
      only: Picks the objects to copy from all that are there.
      check: Called with the copy when it is complete. If it raises StorageError, the copy is removed.

    Raises:
      PathError: The address has a scheme that isn't supported.
      StorageError: It can't be copied. The message says why and what to do.
    """
    address = address_of(path)
    if address is None:
        return local_path(path)
    bucket = Bucket(address)
    for _ in range(_ATTEMPTS):
        found = only(bucket.list())
        if not found:
            raise StorageError(f"{address}: nothing is there; see to the spelling")
        place = _copy(bucket, found, check)
        if only(bucket.list()) == found:
            return place / address.name if "" in found else place
    raise StorageError(
        f"{address}: it changed again and again while it was copied; try again when nothing writes there"
    )


def _copy(bucket: Bucket, found: Listing, check: Callable[[Path], None]) -> Path:
    folder = place_of(bucket.address, "copies")
    version = hashlib.sha256(json.dumps(sorted(found.items())).encode()).hexdigest()[:16]
    target, complete = folder / version, folder / f"{version}.complete"
    if target in _in_use:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / ".lock", f"another process copies {bucket.address}; waiting for it"):
        used = (folder / f"{version}.used").open("a")
        fcntl.flock(used, fcntl.LOCK_SH)
        try:
            if not complete.exists():
                download(bucket, found, target)
                try:
                    check(target)
                except StorageError:
                    shutil.rmtree(target, ignore_errors=True)
                    raise
                complete.touch()
        except BaseException:
            used.close()
            raise
        _in_use[target] = used
        _remove_unused(folder, version)
    return target


def download(bucket: Bucket, found: Listing, target: Path) -> None:
    """Copies objects to a folder; one that is there with the same size stays.

    Raises:
      StorageError: The disk has too little room, or an object can't be read.
    """
    places = {name: target / (name or bucket.address.name) for name in found}
    missing = {name: each for name, each in found.items() if not _is_there(places[name], each)}
    size = sum(entry.size for entry in missing.values())
    target.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target).free
    if size + SPARE > free:
        raise StorageError(
            f"{bucket.address}: its copy takes {size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free in "
            f"{target}; make room, or set XDG_CACHE_HOME to a folder on a larger disk"
        )
    if not missing:
        return
    say(
        f"copying {len(missing)} files ({size / 1e6:,.1f} MB) from {bucket.address} to {target}",
        error=True,
    )
    bar = progress_bar(total=size, desc="Copying", unit="B", unit_scale=True, delay=2)
    with bar, ThreadPoolExecutor(THREADS) as pool:

        def get(name: str) -> int:
            bucket.get(name, places[name], missing[name].size)
            return missing[name].size

        try:
            for done in pool.map(get, missing):
                bar.update(done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _is_there(path: Path, entry: Entry) -> bool:
    return path.is_file() and path.stat().st_size == entry.size


@contextlib.contextmanager
def _alone(path: Path, waiting: str) -> Iterator[None]:
    """Holds a lock among the processes of this machine; says so if it has to wait."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting, error=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_unused(folder: Path, version: str) -> None:
    """Removes other versions that no process reads."""
    for used in folder.glob("*.used"):
        if used.stem == version:
            continue
        with used.open("a") as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (folder / f"{used.stem}.complete").unlink(missing_ok=True)
            shutil.rmtree(folder / used.stem, ignore_errors=True)
            used.unlink()
