"""Opening a model for use, whoever wrote it: `scenarioclip_jax.load`."""

from pathlib import Path

import numpy as np

from scenarioclip_jax import checkpoint
from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.describe import calibration
from scenarioclip_jax.inference import Model
from scenarioclip_jax.shell import to_paste


def load(
    path: str | Path,
    *,
    weights: str = "student",
    step: int | None = None,
    dtype: str = "float32",
    batch_size: int = 32,
) -> Model:
    """Opens a model for use.

    Args:
      path: A training run's workdir, the output of the converter, or a folder for PyTorch, here or in a bucket
        (`gs://…`, `s3://…`); or a plain CLIP model in Hugging Face's format (folder or hub id), which gives
        CLIP's own cosines at every level.
      weights, step: `student` or `ema`, and the step of a training run's checkpoint (default: the newest).
      dtype: Type to compute in, `float32` or `bfloat16`.
      batch_size: Most images or texts to compute at once.

    Raises:
      CheckpointError: There is no such model. The message says what was found and what to do.
      InputUnavailableError: The system refuses to read a file, which may be whole.
    """
    # These modules are imported only when needed.
    from scenarioclip_jax.interop import exported, known_files
    from scenarioclip_jax.interop.hub import local_folder

    folder = local_folder(path, step)
    if (folder / "model.json").is_file() or (folder / "checkpoints").is_dir():
        spec = ModelSpec.read(folder)
        params, _ = checkpoint.load_params(folder, weights=weights, step=step)
        try:
            tokenizer = Tokenizer.load(folder / "tokenizer.json")
        except (FileNotFoundError, ValueError) as error:
            raise CheckpointError(f"{folder}: {error}; put the model's tokenizer there") from None
        kept = calibration.temperatures(folder, weights)
        return Model(spec, params, tokenizer, dtype=dtype, batch_size=batch_size, temperatures=kept)
    if weights != "student" or step is not None:
        raise CheckpointError(
            f"{path}: only a training run or a converted model has several weights"
        )
    if exported.is_exported(folder):
        found = exported.read(folder)
        kept = exported.temperatures(folder) | calibration.temperatures(folder, weights)
        return Model(*found, dtype=dtype, batch_size=batch_size, temperatures=kept)
    if folder.is_file():
        if what := known_files.describe(folder):
            raise CheckpointError(f"{path}: a file, {what}")
        raise CheckpointError(
            f"{path}: a file; convert it first: python -m scenarioclip_jax.convert from-reference "
            + to_paste("--checkpoint", path, "--output", "DIR")
        )
    return Model(*_plain_clip(str(path)), dtype=dtype, batch_size=batch_size)


def _plain_clip(source: str) -> tuple[ModelSpec, dict[str, np.ndarray], Tokenizer]:
    from scenarioclip_jax.interop.initial import arguments_from_clip, from_clip
    from scenarioclip_jax.interop.plain_clip import open_plain_clip

    clip = open_plain_clip(source)
    if clip.tokenizer is None:
        raise CheckpointError(f"{source}: no tokenizer.json in it, nor vocab.json with merges.txt")
    model = arguments_from_clip(clip, arch="clip", head="clip")
    spec = ModelSpec(model, dict.fromkeys(LEVELS, clip.text["max_length"]), clip.fit)
    return spec, from_clip(clip, model, head="clip"), clip.tokenizer
