"""The tokenizer that comes with weights, or that a flag names."""

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.storage.cache import local_copy

DEFAULT_TOKENIZER = "openai/clip-vit-base-patch32"


def open_tokenizer(source: str) -> Tokenizer:
    """Opens a tokenizer.json, a folder or a hub id; raises CheckpointError if there is none."""
    # Not everything is a path here; a hub id stays as it is.
    source = str(local_copy(source)) if source.startswith("~") or "://" in source else source
    try:
        return Tokenizer.load(source)
    except (FileNotFoundError, ValueError) as error:
        raise CheckpointError(f"tokenizer: {error}") from None
