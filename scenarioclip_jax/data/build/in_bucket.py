"""Data sets that are built for a bucket: made in the cache, then copied there."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.paths import Address
from scenarioclip_jax.storage.bucket import Bucket, check_address
from scenarioclip_jax.storage.output import upload

_REQUEST = ".request"  # says what a data set that isn't copied yet was built from


def check(output_dir: str | Path, overwrite: bool) -> Address | None:
    """Returns the address that an output is, if a data set can be built there; None for a local folder.

    Raises:
      FileExistsError: There is a data set already.
      StorageError: The bucket can't be used.
    """
    address = check_address(output_dir)
    if address is not None:
        found = [name for name in Bucket(address).list() if shards.is_info(name)]
        if found and not overwrite:
            raise FileExistsError(
                f"{address}/{found[0].rpartition('/')[0]} is a data set already. Name another --output, or "
                "replace it with --overwrite"
            )
    return address


def is_made(output: Path, request: list[Any]) -> bool:
    """Whether a folder in the cache holds a whole data set that an equal request built."""
    path = output / _REQUEST
    return (
        shards.find_dataset(output) is not None
        and path.is_file()
        and path.read_text() == _digest(request)
    )


def note_made(output: Path, request: list[Any]) -> None:
    (output / _REQUEST).write_text(_digest(request))


def _digest(request: list[Any]) -> str:
    return hashlib.sha256(json.dumps(request).encode()).hexdigest()


def publish(output: Path, address: Address, before_visible: Callable[[], None]) -> dict[str, Any]:
    """Copies a data set from the cache to its address, then removes it here; returns its summary.

    Raises:
      StorageError: It can't be copied. It is kept.
    """
    summary = shards.load_summary(output)
    upload(
        output,
        address,
        last=shards.is_info,
        only=lambda name: name.startswith(f"{shards.NAME}/"),
        before_visible=before_visible,
    )
    for path in output.iterdir():
        if path.name != ".build.lock":  # which this process holds
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return summary
