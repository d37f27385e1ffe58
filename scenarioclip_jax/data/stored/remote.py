"""Data sets in a bucket: copied to this machine, and checked, before they are read."""

from pathlib import Path

from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.splits import SPLITS
from scenarioclip_jax.paths import address_of, local_path
from scenarioclip_jax.storage.bucket import StorageError
from scenarioclip_jax.storage.cache import Listing, local_copy


def local_data(data_dir: str | Path) -> Path:
    """Returns a local folder as it is, and for an address a copy of the data set there.

    Batches are drawn from all shards at random, so the first few already need nearly every shard: the whole
    data set is copied, once for each machine, before the first of them.

    Raises:
      PathError: The address has a scheme that isn't supported.
      DataSetError: There is no data set, or what was copied isn't what was built.
      StorageError: It can't be copied.
    """
    address = address_of(data_dir)
    if address is None:
        return local_path(data_dir)

    def of_data_set(found: Listing) -> Listing:
        if not any(shards.is_info(name) for name in found):
            raise shards.DataSetError(
                f"no data set in {address} ({shards.NAME}/{shards.VERSION} isn't there). Build it: "
                f"{shards.build_command(str(address))}"
            )
        return {name: entry for name, entry in found.items() if name.startswith(f"{shards.NAME}/")}

    def check(folder: Path) -> None:
        """Compares the content with the digests that the build noted."""
        if shards.find_dataset(folder) is None:
            return  # of another version, which `dataset_dir` explains
        digests = shards.load_summary(folder).get("digests", {})
        for split in SPLITS:
            found = shards.split_digest(shards.dataset_dir(folder), split)
            if split in digests and found != digests[split]:
                raise StorageError(
                    f"{address}: the shards of its {split} split aren't those that were built (their digest "
                    "differs): they were damaged or replaced one by one. Copy the data set there again, or "
                    "build it again"
                )

    return local_copy(data_dir, only=of_data_set, check=check)
