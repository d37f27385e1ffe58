"""Uploads a folder for PyTorch to the Hugging Face hub, or to another server with its interface."""

import re
from collections.abc import Iterator
from pathlib import Path

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.interop.exported import is_exported
from scenarioclip_jax.interop.hub import HUB_ID

CARD = "README.md"
_LICENSE = re.compile(r"^license:\s*unknown\s*$", re.MULTILINE)


class PushError(CheckpointError):
    """A folder can't be uploaded. The message says what to do."""


def notes_on(folder: Path) -> Iterator[str]:
    """What somebody who finds the model on the hub will miss in its card."""
    card = folder / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    if not text:
        yield f"{card}: there is no card; say there what the model is and how it may be used"
    elif _LICENSE.search(text):
        yield f"{card}: says `license: unknown`; name the license of weights and data there"


def push(folder: Path, repository: str, *, private: bool = False, revision: str = "main") -> str:
    """Uploads a folder as one commit; makes the repository if there is none. Returns the commit's address.

    Nothing of a repository is deleted. A push that is interrupted leaves no commit, and large files that were
    uploaded already aren't sent again.

    Args:
      folder: What `to_pytorch` wrote.
      repository: `ORGANIZATION/NAME`, or `NAME` for one's own.
      private: Whether a new repository is private.
      revision: The branch; made if there is none.

    Raises:
      PushError: The folder is none for PyTorch or no hub id is given, or the hub refuses or can't be reached.
    """
    import huggingface_hub

    if not folder.is_dir() or not is_exported(folder):
        raise PushError(
            f"--folder={folder}: no folder for PyTorch; make one with "
            "python -m scenarioclip_jax.convert to-pytorch --checkpoint DIR --output DIR"
        )
    named = HUB_ID.fullmatch(repository)
    if not named or named["revision"]:
        raise PushError(f"--repo={repository}: must be ORGANIZATION/NAME, or NAME for your own")
    api = huggingface_hub.HfApi()
    try:
        made = api.create_repo(repository, private=private or None, exist_ok=True)
        if revision != "main":
            api.create_branch(made.repo_id, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=f"Upload {folder.name}",
        )
    except Exception as error:  # network, permission, name: many classes
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = f"{type(error).__name__}: {lines[0] if lines else ''}"
        raise PushError(f"--repo={repository}: {said}{_remedy(error)}") from error
    return str(done.commit_url)


def _remedy(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return "; log in with `hf auth login`, or set HF_TOKEN"
    if status == 403:
        return "; give a token that may write to it, or another repository"
    return ""
