"""Identifies unexpected files by their first bytes and the names in them, for error messages."""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

TORCHSCRIPT = (
    "a TorchScript archive, as OpenAI's own downloads of CLIP are (ViT-B-32.pt): a program, which isn't run "
    "here. The same weights are on the hub in Hugging Face's format, such as openai/clip-vit-base-patch32; "
    "give that"
)
OPEN_CLIP = (
    "in open_clip's format; give the folder that holds it, with open_clip_config.json and CLIP's tokenizer "
    "beside it"
)
HUGGINGFACE = (
    "weights of a Hugging Face CLIP model without its config.json and tokenizer; give the folder or the hub "
    "id that they come from"
)


def describe(path: Path) -> str | None:
    """Says what kind of file this is and what to do with it; None if unknown."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
        if what := of_start(start):
            return what
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            return TORCHSCRIPT if any(name.endswith("/constants.pkl") for name in names) else None
        return of_names(_safetensors_names(path)) if path.suffix == ".safetensors" else None
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile):
        return None


def of_start(start: bytes) -> str | None:
    """Like `describe`, by a file's first bytes."""
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer instead of the file itself; run `git lfs pull` in its repository"
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page instead of the file itself; download the file (on the hub: /resolve/, not /blob/)"
    return None


def is_open_clip(folder: Path) -> bool:
    """Whether a folder has open_clip's config, and no config of Transformers' that is read before it."""
    if (
        not (folder / "open_clip_config.json").is_file()
        or (folder / "vision/config.json").is_file()
    ):
        return False
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
        return "model_type" not in values  # timm has a config.json of its own
    except FileNotFoundError:
        return True
    except (OSError, ValueError, TypeError):
        return False


def of_names(names: Iterable[str]) -> str | None:
    """Like `describe`, by the names of a file's tensors."""
    names = [name.removeprefix("module.").removeprefix("model.") for name in names]
    if any(
        name.startswith(("visual.conv1.", "visual.transformer.", "visual.trunk.")) for name in names
    ):
        return OPEN_CLIP
    if any(name.startswith(("vision_model.", "text_model.")) for name in names):
        return HUGGINGFACE
    return None


def _safetensors_names(path: Path) -> list[str]:
    with path.open("rb") as file:
        start = file.read(8)
        size = int.from_bytes(start, "little")
        if size > min(path.stat().st_size, 100 << 20):
            raise ValueError("not a safetensors header")
        return list(json.loads(file.read(size)))
