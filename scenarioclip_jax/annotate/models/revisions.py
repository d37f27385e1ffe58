"""Says exactly which weights are used: the commit of a model on the hub, or a digest of a folder's files."""

import hashlib
import re
from pathlib import Path

from scenarioclip_jax.annotate.models.load import first_line, require
from scenarioclip_jax.annotate.models.protocols import ModelError

# Of a file above the first limit, this much at its start and at its end tells it from others. Weights of
# gigabytes are identified in a moment; a change in the middle alone, of the same length, isn't noticed.
_WHOLE = 4 << 20
_PART = 1 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SECONDS = 30.0


def resolve(model: str, revision: str = "") -> str:
    """The revision that a model's name stands for.

    Args:
      model: A name on the Hugging Face hub, or a folder.
      revision: A branch, tag or commit; of a folder, the digest that it should have. By default the newest.

    Returns:
      On the hub a commit, which is taken from the local cache where the hub can't be reached; of a folder,
      "sha256:" and a digest of its files' names, sizes and contents (of files above 4 MiB, only their first
      and last MiB).

    Raises:
      ModelError: There is no such model or revision, the hub can't be reached and the cache doesn't have it,
        or the folder has changed.
    """
    if Path(model).is_dir():
        digest = _digest(Path(model))
        if revision not in ("", digest):
            raise ModelError(
                f"{model}: its files have changed: their digest is {digest}, the settings say {revision}; put "
                "the old files back, or leave the revision empty to use the new ones"
            )
        return digest
    if _COMMIT.fullmatch(revision):
        return revision
    return _commit(model, revision)


def _digest(folder: Path) -> str:
    files = sorted(
        path
        for path in folder.rglob("*")
        # What downloads note in .cache says nothing of the weights.
        if path.is_file() and path.relative_to(folder).parts[0] not in (".cache", ".git")
    )
    if not files:
        raise ModelError(f"{folder}: the folder has no files; give one with a model")
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE:
                digest.update(file.read())
            else:
                digest.update(file.read(_PART))
                file.seek(size - _PART)
                digest.update(file.read(_PART))
    return f"sha256:{digest.hexdigest()}"


def _commit(model: str, revision: str) -> str:
    hub = require("huggingface_hub", model)
    errors = require("huggingface_hub.errors", model)
    try:
        commit = hub.HfApi().model_info(model, revision=revision or None, timeout=_SECONDS).sha
        if commit:
            return commit
        reason = "the hub names no commit"
    except errors.HFValidationError:
        raise ModelError(f"{model}: no such folder, and no name of a model on the hub") from None
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        raise ModelError(
            f"{model}: the hub shows no such model: {first_line(error)} Check the name; for a gated or "
            "private model accept its terms there and run `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{model}: has no revision {revision!r}; check it on the hub") from error
    except Exception as error:  # of the network, in as many classes as clients have
        reason = first_line(error)
    try:
        return Path(
            hub.snapshot_download(
                model,
                revision=revision or None,
                local_files_only=True,
                allow_patterns=["config.json"],
            )
        ).name
    except Exception as error:
        raise ModelError(
            f"{model}: the hub can't be reached ({reason}), and the local cache doesn't have the model: check "
            f"the network, or download it where there is one: hf download {model}"
        ) from error
