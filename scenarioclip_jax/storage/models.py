"""Trained and converted models in a bucket, laid out as `scenarioclip_jax.checkpoint` says.

A checkpoint there is complete once it has `END`, which is uploaded last. What a run uploads also has
`manifests/STEP.json`: {name below checkpoints/STEP: [size in bytes, SHA-256]}.
"""

import json
import re
from pathlib import Path
from typing import Any

from scenarioclip_jax.files import sha256_of
from scenarioclip_jax.paths import address_of
from scenarioclip_jax.storage.bucket import StorageError
from scenarioclip_jax.storage.cache import Listing, local_copy

END = "_CHECKPOINT_METADATA"  # Orbax writes it into every checkpoint
_STEP = re.compile(r"checkpoints/(\d+)/(.+)")
_MANIFEST = re.compile(r"manifests/(\d+)\.json")


def folder_of(step: int) -> str:
    return f"checkpoints/{step:08d}"


def manifest_of(step: int) -> str:
    return f"manifests/{step:08d}.json"


def complete_steps(found: Listing) -> list[int]:
    """The steps that have a complete checkpoint among some objects, ascending."""
    ends = (_STEP.fullmatch(name) for name in found)
    return sorted(int(end[1]) for end in ends if end and end[2] == END)


def step_of(name: str) -> int | None:
    """The step that an object belongs to; None if it isn't part of a checkpoint."""
    found = _STEP.fullmatch(name) or _MANIFEST.fullmatch(name)
    return int(found[1]) if found else None


def make_manifest(folder: Path) -> dict[str, list[Any]]:
    """Returns size and digest of every file of a checkpoint but END, which Orbax may write once more later."""
    return {
        path.relative_to(folder).as_posix(): [path.stat().st_size, sha256_of(path)]
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / END
    }


def damage(folder: Path, manifest: bytes) -> str:
    """Says how a checkpoint differs from its manifest; empty if it doesn't."""
    try:
        told = json.loads(manifest)
        for name, (size, digest) in told.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size or sha256_of(path) != digest:
                return f"{name} isn't what was uploaded"
    except (ValueError, AttributeError, TypeError) as error:
        return f"its manifest can't be read ({error})"
    return ""


def model_copy(path: str | Path, step: int | None = None) -> Path:
    """Returns a local path as it is, and for an address a copy of the model there, without optimizer states.

    Args:
      path: The path or address.
      step: Step of the checkpoint to copy; the newest if None.

    Raises:
      PathError: The address has a scheme that isn't supported.
      StorageError: It can't be copied, or has no such checkpoint.
    """
    address = address_of(path)

    def of_model(found: Listing) -> Listing:
        steps = complete_steps(found)
        if step is not None and step not in steps:
            raise StorageError(
                f"{address}: no complete checkpoint of step {step} (found: "
                f"{', '.join(map(str, steps)) or 'none'})"
            )
        wanted = step if step is not None else max(steps, default=None)
        return {
            name: entry
            for name, entry in found.items()
            if not re.match(r"tensorboard/|\.|checkpoints/\d+/train/", name)
            and step_of(name) in (None, wanted)
        }

    def check(folder: Path) -> None:
        for manifest in folder.glob("manifests/*.json"):
            told = json.loads(manifest.read_bytes())
            told = {name: each for name, each in told.items() if not name.startswith("train/")}
            place = folder_of(int(manifest.stem))
            if why := damage(folder / place, json.dumps(told).encode()):
                raise StorageError(
                    f"{address}: the checkpoint of step {int(manifest.stem)} is damaged ({place}/{why}); use "
                    "another step, or copy it there again"
                )

    return local_copy(path, only=of_model, check=check)
