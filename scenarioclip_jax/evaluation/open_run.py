"""Opens a trained model with the data set that it was trained on, for notebooks and scripts."""

from pathlib import Path
from typing import NamedTuple

from scenarioclip_jax import inference
from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.console import say
from scenarioclip_jax.data.build.dataset import default_embedded
from scenarioclip_jax.evaluation.embed.cache import Cache
from scenarioclip_jax.evaluation.embed.encoder import ModelEncoder
from scenarioclip_jax.evaluation.embed.in_domain import DataSet
from scenarioclip_jax.evaluation.run_data import difference, identity_now, of_run
from scenarioclip_jax.loading import load
from scenarioclip_jax.paths import local_path
from scenarioclip_jax.shell import to_paste
from scenarioclip_jax.storage.models import model_copy

CACHE = "~/.cache/scenarioclip_jax/embeddings"  # as in configs/evaluate.py


class OpenRun(NamedTuple):
    model: inference.Model
    encoder: ModelEncoder  # embeds with the model, each input once
    data: DataSet


def open_run(
    checkpoint: str | Path, *, weights: str = "student", scenes: int = 0, part: str = ""
) -> OpenRun:
    """Opens a training run.

    Args:
      checkpoint: The run's workdir.
      weights: `student` or `ema`.
      scenes: Number of scenes to take from the start of each split; 0 for all.
      part: Name of one of the data sets of a mixture; empty for the first.

    Raises:
      CheckpointError: There is no such run, or it has no such data set. The message says what there is.
      DataSetError: The run's data set no longer exists.
    """
    directory = data_of(checkpoint, part)
    model = load(checkpoint, weights=weights)
    encoder = ModelEncoder(model, Cache(local_path(CACHE)), quiet=True)
    return OpenRun(encoder.model, encoder, DataSet(encoder, directory, scenes=scenes))


def data_of(checkpoint: str | Path, part: str = "") -> Path:
    """Returns the data set that a run was trained on; builds the demo's scenes if they don't exist.

    Args:
      part: Name of one of the data sets of a mixture; empty for the first.

    Raises:
      CheckpointError: There is no such run, or it has no such data set. The message says what there is.
    """
    folder = model_copy(checkpoint)
    workdir = to_paste(f"--workdir={checkpoint}")
    try:
        trained = of_run(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{folder.resolve()} holds no training run. Make one (minutes on two CPU cores) with\n\n"
            f"    python -m scenarioclip_jax.main --config=configs/pretrain.py {workdir}\n\n"
            "or name another: SCENARIOCLIP_CHECKPOINT=WORKDIR in the environment."
        ) from None
    names = [each.part for each in trained]
    if part and part not in names:
        raise CheckpointError(
            f"{checkpoint} was trained on no data set {part!r}: "
            + (f"there are {', '.join(names)}" if len(names) > 1 else "it has one, without a name")
        )
    chosen = trained[names.index(part) if part else 0]
    if len(trained) > 1 and not part:
        say(f"note: of the data sets of {checkpoint} ({', '.join(names)}), this is {names[0]}")
    if chosen.is_drawn:
        return default_embedded(**chosen.embedded)
    chosen = chosen.here()
    now = chosen._replace(identity=identity_now(chosen.directory))
    if not now.same(chosen):
        say(f"note: {difference(str(checkpoint), trained, now)}")
    return chosen.directory
