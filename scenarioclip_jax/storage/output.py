"""Outputs that go to a bucket: made in a local folder, copied when they are complete.

    ~/.cache/scenarioclip_jax/storage/outputs/NAME-DIGEST/     an address

What says that the output is complete is copied last, and removed first where something is replaced, so that a
copy that was interrupted is never taken for a whole one.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scenarioclip_jax.paths import Address
from scenarioclip_jax.progress_bar import progress_bar
from scenarioclip_jax.storage.bucket import Bucket, StorageError
from scenarioclip_jax.storage.cache import THREADS, place_of


def spool(address: Address) -> Path:
    """The local folder in which the output for an address is made."""
    return place_of(address, "outputs")


def upload(
    folder: Path,
    address: Address,
    *,
    last: Callable[[str], bool],
    only: Callable[[str], bool] = lambda name: True,
    before_visible: Callable[[], None] = lambda: None,
) -> None:
    """Copies a folder to an address.

    Args:
      folder: The folder.
      address: The place.
      last: Whether an object, by its name, says that the output is complete.
      only: Which files are copied. Objects of these names that the folder doesn't have are removed.
      before_visible: Called right before the last objects are written.

    Raises:
      StorageError: The files can't be copied. The message says where they are.
    """
    bucket = Bucket(address)
    paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    paths = {name: path for name, path in sorted(paths.items()) if only(name)}
    ends = [name for name in paths if last(name)]
    size = sum(path.stat().st_size for path in paths.values())
    bar = progress_bar(total=size, desc="Uploading", unit="B", unit_scale=True, delay=2)

    def put(name: str) -> None:
        bucket.put(paths[name], name)
        bar.update(paths[name].stat().st_size)

    try:
        there = [name for name in bucket.list() if only(name)]
        bucket.remove(name for name in there if last(name))
        with bar, ThreadPoolExecutor(THREADS) as pool:
            try:
                list(pool.map(put, [name for name in paths if name not in ends]))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            bucket.remove(name for name in there if name not in paths and not last(name))
            before_visible()
            for name in ends:
                put(name)
    except StorageError as error:
        raise StorageError(
            f"{error}. What was made is whole in {folder}; nothing is complete in {address}"
        ) from error
