"""Finds a model: a local folder, one in a bucket, or a repository on the Hugging Face hub."""

import re
from pathlib import Path

from scenarioclip_jax.checkpoint import CheckpointError, folder_above
from scenarioclip_jax.interop import known_files
from scenarioclip_jax.paths import PathError
from scenarioclip_jax.shell import to_paste
from scenarioclip_jax.storage.bucket import StorageError
from scenarioclip_jax.storage.models import model_copy

# Safetensors come first; files for other libraries or precisions aren't downloaded.
SMALL = ("*.json", "*.txt", "spiece.model")
SAFETENSORS = ("model.safetensors", "model-?????-of-?????.safetensors")
TORCH = ("pytorch_model.bin", "pytorch_model-?????-of-?????.bin")
OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TOWERS = ("vision", "text")

REPOSITORY = r"(?P<id>[\w.-]+(?:/[\w.-]+)?)"
HUB_ID = re.compile(rf"{REPOSITORY}(?:@(?P<revision>[\w./-]+))?")
HUB_ADDRESS = re.compile(
    rf"(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)/|hf-hub:|hf://(?:models/)?){REPOSITORY}"
    r"(?:(?:@|/(?:tree|blob|resolve)/)(?P<revision>[\w.-]+)(?:/.*)?)?/?"
)
# Folders that this project's documentation writes to; a name below one isn't a repository.
OUR_FOLDERS = ("runs", "checkpoints", "exports")


def find_folder(source: str) -> Path:
    """Returns a local folder as it is; downloads a hub id (`ORG/NAME`, `ORG/NAME@REVISION`) or address to one.

    Raises:
      CheckpointError: There is no such folder, or `source` is a file or another address. Says what to do.
    """
    if address := HUB_ADDRESS.fullmatch(source):
        return _download(address["id"], address["revision"], f"{source}: ")
    folder = local_folder(source)
    if folder.is_dir():
        if above := folder_above(folder):
            raise CheckpointError(
                f"{source}: a part of the checkpoint in {above}; give that folder: {to_paste(above)}"
            )
        return folder
    if folder.exists():
        what = known_files.describe(folder)
        raise CheckpointError(
            f"{source}: a file; give the folder that the model was saved to"
            + (f". It is {what}" if what else "")
        )
    named = HUB_ID.fullmatch(source)
    if not named or _looks_like_a_path(source):
        raise CheckpointError(f"{source}: no such folder{_beside(folder)}")
    return _download(
        named["id"],
        named["revision"],
        f"{source}: no such folder, and the Hugging Face hub gave no model of this name ",
    )


def local_folder(source: str | Path, step: int | None = None) -> Path:
    """Returns `source` as a local path, existing or not; for an address in a bucket, a copy of the model there.

    Args:
      step: The checkpoint to copy; the newest if None.

    Raises:
      CheckpointError: It is another address, or can't be copied.
    """
    if HUB_ADDRESS.fullmatch(str(source)):
        return Path(source)
    try:
        return model_copy(source, step)
    except (PathError, StorageError) as error:
        raise CheckpointError(str(error)) from None


def _looks_like_a_path(source: str) -> bool:
    first = source.split("/")[0]
    below = "/" in source and (first in OUR_FOLDERS or Path(first).is_dir())
    return below or source.startswith((".", "/", "~"))


def _beside(folder: Path) -> str:
    """Says, for an error message, what exists instead."""
    if not folder.parent.is_dir():
        return ""
    try:
        names = sorted(e.name for e in folder.parent.iterdir() if e.is_dir() and e.name[0] != ".")
    except OSError:
        return ""
    more = ", …" if len(names) > 8 else ""
    return f"; {folder.parent} has {', '.join(names[:8])}{more}" if names else ""


def _download(repository: str, revision: str | None, failed: str) -> Path:
    """Downloads a repository's small files, and its weights in one format."""
    found = _fetch(repository, revision, (*SMALL, *SAFETENSORS, *_in_towers(SAFETENSORS)), failed)
    # A repository may have no safetensors, or only those of other libraries.
    if not any(any(found.glob(p)) for p in (*SAFETENSORS, *_in_towers(SAFETENSORS))):
        found = _fetch(repository, revision, ("*.json", *TORCH, *_in_towers(TORCH)), failed)
    if known_files.is_open_clip(found):
        for name in OPEN_CLIP:
            if not any((found / each).is_file() for each in OPEN_CLIP):
                found = _fetch(repository, revision, (*SMALL, name), failed)
    return found


def _in_towers(patterns: tuple[str, ...]) -> list[str]:
    return [f"{tower}/{pattern}" for tower in TOWERS for pattern in patterns]


def _fetch(repository: str, revision: str | None, patterns: tuple[str, ...], failed: str) -> Path:
    import huggingface_hub

    arguments = {"revision": revision} if revision else {}
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repository, allow_patterns=list(patterns), **arguments
            )
        )
    except Exception as error:  # network, permission, name: many classes
        # Offline, a part of the repository may be in the cache, and may be all that is needed.
        partial = getattr(error, "snapshot_path", None)
        if partial and Path(partial).is_dir():
            return Path(partial)
        said = str(error).strip().splitlines()
        raise CheckpointError(
            f"{failed}({type(error).__name__}: {said[0] if said else ''})"
        ) from None
