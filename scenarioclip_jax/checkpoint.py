"""The layout of a trained or converted model on disk, and writing and reading one with Orbax.

    DIR/model.json          `ModelSpec`: the model's constructor arguments, how its inputs are prepared
    DIR/tokenizer.json
    DIR/checkpoints/STEP/   params: every parameter of the student
                            ema:    the teacher's copy of the trainable ones, if there is one
                            teacher: its `steps` (updates so far), `decay`, `warmup_steps`, as far as known
                            train, data, config: only from a training run, for resuming it; with
                                    `ema.keep=teacher` also `ema_of_teacher`, instead of `ema`

The `--workdir` of a training run and the output of a converter are both such a DIR.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util

from scenarioclip_jax import (
    faults,
    orbax_setup,  # noqa: F401  (changes how arrays are written)
)
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.files import write_text
from scenarioclip_jax.models.params import Params

FORMAT = 1
WEIGHTS = ("student", "ema")


class CheckpointError(ReadableError, ValueError):
    """A folder isn't a checkpoint, or not one that can be used here. The message says what to do."""


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Everything that is needed to use a model's parameters.

    Attributes:
      model: Arguments of `ScenarioCLIP` as plain JSON values, without `rngs`.
      lengths: Tokens of a text by level, including bos and eos.
      fit: How a photo is fitted to a square view, see `data.settings.FITS`.
      region_style: How focused regions are shown, see `data.region_styles.STYLES`.
    """

    model: dict[str, Any]
    lengths: dict[str, int]
    fit: str = "centre_crop"
    region_style: str = "stored"

    def write(self, directory: Path) -> None:
        write_text(
            directory / "model.json",
            json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=2),
        )

    @classmethod
    def read(cls, directory: Path) -> "ModelSpec":
        """Reads `model.json`; raises CheckpointError if there is none or another version wrote it."""
        path = directory / "model.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            if above := folder_above(directory):
                raise CheckpointError(
                    f"{directory}: a part of the checkpoint in {above}; give that folder"
                ) from None
            raise CheckpointError(
                f"{directory} has no model.json, so it is no ScenarioCLIP checkpoint; give the --workdir "
                "of a training run or the --output of scenarioclip_jax.convert"
            ) from None
        except OSError as error:
            faults.refuse(error, path)
            raise
        except ValueError as error:  # from json, or because the bytes aren't UTF-8
            raise CheckpointError(f"{path} is not valid JSON ({error}); copy it again") from None
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise CheckpointError(
                f"{path}: its `format` is not {FORMAT}, the one that this version reads; "
                "convert the weights again"
            )
        values.setdefault("region_style", "stored")  # files of before there were others
        types = {"model": dict, "lengths": dict, "fit": str, "region_style": str}
        wrong = [name for name, kind in types.items() if not isinstance(values.get(name), kind)]
        wrong += sorted(values.keys() - types.keys())
        if wrong:
            raise CheckpointError(
                f"{path}: {', '.join(wrong)} missing, unknown or of a wrong type; copy it again, or "
                "convert the weights again"
            )
        return cls(**values)


def folder_above(path: Path) -> Path | None:
    """Returns DIR if a path lies below DIR/checkpoints; None for any other path."""
    return next(
        (
            above.parent
            for above in (path.absolute(), *path.absolute().parents)
            if above.name == "checkpoints" and (above.parent / "model.json").is_file()
        ),
        None,
    )


def nest(params: Params) -> dict:
    """Turns flat paths into nested mappings, because `/` in a name has a special meaning for Orbax."""
    return traverse_util.unflatten_dict(params, sep="/")


def flatten(tree: dict) -> Params:
    return traverse_util.flatten_dict(tree, sep="/")


def save_model(
    directory: Path,
    spec: ModelSpec,
    params: Params,
    ema: Params | None = None,
    *,
    step: int = 0,
    teacher: dict[str, Any] | None = None,
) -> None:
    """Writes a model that doesn't come from a training run; the caller puts `tokenizer.json` beside it.

    Args:
      teacher: The record `teacher` described above.
    """
    options = ocp.CheckpointManagerOptions(
        step_format_fixed_length=8, enable_async_checkpointing=False
    )
    # Own handlers, because with the default limit Orbax temporarily takes twice the arrays' memory.
    handlers = {
        name: ocp.PyTreeCheckpointHandler(save_concurrent_gb=1) for name in ("params", "ema")
    }
    items = {"params": ocp.args.PyTreeSave(nest(params))}
    if ema:
        items["ema"] = ocp.args.PyTreeSave(nest(ema))
    if teacher:
        items["teacher"] = ocp.args.JsonSave(teacher)
        handlers["teacher"] = ocp.JsonCheckpointHandler()
    folder = (directory / "checkpoints").resolve()
    with ocp.CheckpointManager(folder, options=options, item_handlers=handlers) as manager:
        manager.save(step, args=ocp.args.Composite(**items))
    spec.write(directory)  # written last: a folder without it isn't a checkpoint


def steps(directory: Path) -> list[int]:
    """The steps for which DIR has complete checkpoints, ascending."""
    folder = directory / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())


def what_is_whole(directory: Path) -> str:
    """Says, for error messages, which complete checkpoint in DIR is the newest."""
    found = steps(directory)
    return f"the checkpoint of step {found[-1]} is whole" if found else "there is no checkpoint yet"


def load_params(
    directory: Path, *, weights: str = "student", step: int | None = None
) -> tuple[Params, int]:
    """Loads the parameters of a model as NumPy arrays by path; also returns their step.

    Args:
      weights: `student`, or `ema` for the teacher's copy (frozen parameters are the same for both).
      step: Step of the checkpoint; the newest if None.

    Raises:
      CheckpointError: There is no such checkpoint, or it has no EMA weights.
    """
    if weights not in WEIGHTS:
        raise CheckpointError(f"weights is {weights!r}; it must be one of {', '.join(WEIGHTS)}")
    params, ema, step = load_student_and_ema(directory, step=step, with_ema=weights == "ema")
    if weights == "ema" and ema is None:
        raise CheckpointError(
            f"{directory}: checkpoint {step} holds no ema weights; use --weights student (a run keeps "
            "them with config.ema.decay above 0 and config.ema.keep=all)"
        )
    return params | (ema or {}), step


def load_student_and_ema(
    directory: Path, *, step: int | None = None, with_ema: bool = True
) -> tuple[Params, Params | None, int]:
    """Loads the student's parameters and the teacher's own ones; also returns their step.

    Args:
      with_ema: Whether to read the teacher's parameters. If False, or if there is no teacher, they are None.

    Raises:
      CheckpointError: There is no such checkpoint, or it is damaged.
      InputUnavailableError: The system refuses to read it; it may be whole.
    """
    found = steps(directory)
    if not found or (step is not None and step not in found):
        raise CheckpointError(
            f"{directory}: no checkpoint {'' if step is None else f'of step {step} '}in its folder "
            f"checkpoints (found: {', '.join(map(str, found)) or 'none'})"
        )
    step = found[-1] if step is None else step
    folder = (directory / "checkpoints" / f"{step:08d}").resolve()
    params = _load_item(folder / "params")
    ema = _load_item(folder / "ema") if with_ema and (folder / "ema").is_dir() else None
    return params, ema, step


def keeps_ema_in_part(directory: Path, step: int) -> bool:
    """Whether the checkpoint of a step has averages only of the parameters that the teacher uses."""
    return (directory / "checkpoints" / f"{step:08d}" / "ema_of_teacher").is_dir()


def load_record(directory: Path, step: int, name: str) -> dict[str, Any]:
    """Loads a record of a checkpoint, such as `teacher`; empty if the checkpoint has none.

    Raises:
      CheckpointError: The record is damaged.
    """
    path = (directory / "checkpoints" / f"{step:08d}" / name).resolve()
    if not path.is_dir():
        return {}
    try:
        return ocp.JsonCheckpointHandler().restore(path)
    except (OSError, ValueError) as error:
        faults.refuse(error, path)
        raise CheckpointError(f"{path}: can't be read ({error}); copy it again") from error


def _load_item(path: Path) -> Params:
    try:
        return flatten(_restore_numpy(path))
    except Exception as error:  # Orbax and TensorStore raise nearly anything on damaged files
        faults.refuse(error, path)
        raise CheckpointError(
            f"{path}: can't be read, so the checkpoint is incomplete or damaged; copy it again, or use "
            f"another step ({type(error).__name__}: {str(error).strip().splitlines()[0][:200]})"
        ) from error


def _restore_numpy(path: Path) -> dict:
    # Uses the handler directly, because a Checkpointer around it warns that `path` has no metadata of its own.
    handler = ocp.PyTreeCheckpointHandler()
    metadata = handler.metadata(path).tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata)
    return handler.restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
