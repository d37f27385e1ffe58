"""What a trained or converted model is on disk, and saving and restoring it with Orbax.

    DIR/model.json          `ModelSpec`: the model's constructor arguments, how its inputs are prepared
    DIR/tokenizer.json
    DIR/checkpoints/STEP/   params: every parameter of the student
                            ema:    the teacher's copy of the trainable ones, where there is one
                            teacher: its `steps` (updates so far), `decay`, `warmup_steps`, as far as known
                            train, data, config: only from a training run, to go on with it; with
                                    `ema.keep=teacher` also `ema_of_teacher`, instead of `ema`

A training run's `--workdir` and the output of a converter are both such a DIR.
"""

import contextlib
import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from orbax.checkpoint.checkpoint_managers import preservation_policy

from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.files import write_text
from scenarioclip_jax.models.params import Params
from scenarioclip_jax.orbax_setup import quiet
from scenarioclip_jax.parallel.distributed import wait_for_all

FORMAT = 1
WEIGHTS = ("student", "ema")


class CheckpointError(ReadableError, ValueError):
    """A folder that is no checkpoint, or not one that can be used here. The message says what to do."""


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """All that is needed to use a model's parameters.

    Attributes:
      model: arguments of `ScenarioCLIP` as plain JSON values, without `rngs`.
      lengths: tokens by level, bos and eos included.
      fit: how a photo fits a square view, see `data.settings.FITS`.
    """

    model: dict[str, Any]
    lengths: dict[str, int]
    fit: str = "centre_crop"

    def write(self, directory: Path) -> None:
        write_text(
            directory / "model.json",
            json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=2),
        )

    @classmethod
    def read(cls, directory: Path) -> "ModelSpec":
        """Raises CheckpointError: no `model.json`, or one that another version wrote."""
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
        except ValueError as error:  # of json, or bytes that are no UTF-8
            raise CheckpointError(f"{path} is not valid JSON ({error}); copy it again") from None
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise CheckpointError(
                f"{path}: its `format` is not {FORMAT}, the one that this version reads; "
                "convert the weights again"
            )
        types = {"model": dict, "lengths": dict, "fit": str}
        wrong = [name for name, kind in types.items() if not isinstance(values.get(name), kind)]
        wrong += sorted(values.keys() - types.keys())
        if wrong:
            raise CheckpointError(
                f"{path}: {', '.join(wrong)} missing, unknown or of a wrong type; copy it again, or "
                "convert the weights again"
            )
        return cls(**values)


def folder_above(path: Path) -> Path | None:
    """DIR of a path below its folder `checkpoints`; None for any other path."""
    return next(
        (
            above.parent
            for above in (path.absolute(), *path.absolute().parents)
            if above.name == "checkpoints" and (above.parent / "model.json").is_file()
        ),
        None,
    )


def nest(params: Params) -> dict:
    """Flat paths to nested mappings: Orbax gives `/` in a name a meaning of its own."""
    return traverse_util.unflatten_dict(params, sep="/")


def flatten(tree: dict) -> Params:
    return traverse_util.flatten_dict(tree, sep="/")


class Checkpoints:
    """The checkpoints below one directory, written in the background.

    Args:
      directory: DIR above.
      keep_last: newest checkpoints to keep, for going on.
      keep_best: checkpoints to keep with the highest `metric`.
      metric: name among the metrics given to `save`.
    """

    def __init__(self, directory: Path, *, keep_last: int, keep_best: int, metric: str):
        policies = [preservation_policy.LatestN(n=keep_last)]
        if keep_best:
            policies.append(
                preservation_policy.BestN(
                    get_metric_fn=lambda metrics: metrics[metric],
                    n=keep_best,
                    keep_checkpoints_without_metrics=False,
                )
            )
        options = ocp.CheckpointManagerOptions(
            # Without it Orbax doesn't store the metrics, and forgets after a restart which were best.
            best_fn=(lambda metrics: metrics[metric]) if keep_best else None,
            best_mode="max",
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
            step_format_fixed_length=8,
        )
        self.manager = ocp.CheckpointManager((directory / "checkpoints").resolve(), options=options)

    @property
    def latest(self) -> int | None:
        return self.manager.latest_step()

    @property
    def steps(self) -> list[int]:
        """Those that there is a checkpoint of, ascending."""
        return sorted(self.manager.all_steps())

    def save(
        self,
        step: int,
        *,
        arrays: dict[str, Any],
        records: dict[str, Any],
        metrics: dict[str, float] | None = None,
    ) -> None:
        """Starts to save; returns when the arrays were copied from the devices.

        Args:
          arrays: item name -> pytree of arrays. Empty trees are left out.
          records: item name -> JSON values.
          metrics: what the checkpoint scored, for `keep_best`.
        """
        items = {
            name: ocp.args.StandardSave(tree)
            for name, tree in arrays.items()
            if jax.tree.leaves(tree)
        }
        items |= {name: ocp.args.JsonSave(record) for name, record in records.items()}
        # A failure of the last save's part in the background shows here too.
        with self._explaining_failure(), quiet():
            self.manager.save(step, args=ocp.args.Composite(**items), metrics=metrics, force=True)

    def add_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Adds what a checkpoint scored, if it was saved without; for `keep_best` from the next save on."""
        self.wait()
        if self.manager.metrics(step) is not None:
            return
        # Where Orbax's manager puts and looks for them; it can only do it itself while it saves.
        folder = Path(self.manager.directory) / f"{step:08d}" / "metrics"
        handler = ocp.JsonCheckpointHandler(filename="metrics")
        with self._explaining_failure(), ocp.Checkpointer(handler) as checkpointer:
            checkpointer.save(folder, args=ocp.args.JsonSave(metrics))
        self.manager.reload()

    def restore(self, step: int, *, arrays: dict[str, Any], records: tuple[str, ...]) -> dict:
        """Restores items; `arrays` holds trees of `jax.ShapeDtypeStruct` with shardings."""
        items = {
            name: ocp.args.StandardRestore(tree)
            for name, tree in arrays.items()
            if jax.tree.leaves(tree)
        }
        items |= {name: ocp.args.JsonRestore() for name in records}
        restored = dict(self.manager.restore(step, args=ocp.args.Composite(**items)))
        return {name: tree for name, tree in arrays.items() if name not in items} | restored

    def set_aside(self, step: int) -> Path:
        """Moves a damaged checkpoint out of the way; the first process returns where it is."""
        folder = Path(self.manager.directory) / f"{step:08d}"
        target = folder.with_name(f"damaged-{folder.name}-{time.time_ns()}")
        if jax.process_index() == 0:
            folder.rename(target)
        wait_for_all("a damaged checkpoint is out of the way")
        self.manager.reload()
        return target

    def wait(self) -> None:
        """Returns when the last save is complete on disk; raises what went wrong with it."""
        with self._explaining_failure():
            self.manager.wait_until_finished()

    @contextlib.contextmanager
    def _explaining_failure(self):
        """Turns whatever a failed save raises into CheckpointError; a full disk alone has a dozen errors."""
        try:
            yield
        except Exception as error:
            folder = Path(self.manager.directory)
            free = shutil.disk_usage(folder).free / 1e9
            raise CheckpointError(
                f"a checkpoint couldn't be written to {folder} ({free:.1f} GB free there): {str(error)[:500]}. "
                f"Nothing before it is lost: {what_is_whole(folder.parent)}; mend the cause and start the same "
                "command again"
            ) from error

    def close(self) -> None:
        """Waits for a save in the background; raises what went wrong with it."""
        with self._explaining_failure():
            self.manager.close()


def save_model(
    directory: Path,
    spec: ModelSpec,
    params: Params,
    ema: Params | None = None,
    *,
    step: int = 0,
    teacher: dict[str, Any] | None = None,
) -> None:
    """Writes a model that no training run made; the caller puts `tokenizer.json` beside it.

    Args:
      teacher: the record above.
    """
    options = ocp.CheckpointManagerOptions(
        step_format_fixed_length=8, enable_async_checkpointing=False
    )
    # Handlers of its own: with the default limit Orbax takes twice the arrays' memory for a while.
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
    spec.write(directory)  # last: a folder without it is no checkpoint


def steps(directory: Path) -> list[int]:
    """The steps that DIR has complete checkpoints of, ascending."""
    folder = directory / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())


def what_is_whole(directory: Path) -> str:
    """For errors: which of DIR's checkpoints is the newest that is complete."""
    found = steps(directory)
    return f"the checkpoint of step {found[-1]} is whole" if found else "there is no checkpoint yet"


def load_params(
    directory: Path, *, weights: str = "student", step: int | None = None
) -> tuple[Params, int]:
    """The parameters of a model as NumPy arrays by path, and the step that they are of.

    Args:
      weights: `student`, or `ema` for the teacher's copy (frozen parameters are the same for both).
      step: which checkpoint; the newest if None.

    Raises:
      CheckpointError: there is no such checkpoint, or it holds no EMA weights.
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
    """The student's parameters, the teacher's copy of those that it has of its own, and their step.

    Args:
      with_ema: False leaves the teacher's unread, None in the result as where there is no teacher.

    Raises:
      CheckpointError: there is no such checkpoint, or it is damaged.
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
    """Whether the checkpoint of a step has the average of what the teacher runs only."""
    return (directory / "checkpoints" / f"{step:08d}" / "ema_of_teacher").is_dir()


def load_record(directory: Path, step: int, name: str) -> dict[str, Any]:
    """A record of a checkpoint, such as `teacher`; empty where it has none.

    Raises:
      CheckpointError: it is damaged.
    """
    path = (directory / "checkpoints" / f"{step:08d}" / name).resolve()
    if not path.is_dir():
        return {}
    try:
        return ocp.JsonCheckpointHandler().restore(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be read ({error}); copy it again") from error


def _load_item(path: Path) -> Params:
    try:
        return flatten(_restore_numpy(path))
    except Exception as error:  # Orbax and TensorStore raise nearly anything on damaged files
        raise CheckpointError(
            f"{path}: can't be read, so the checkpoint is incomplete or damaged; copy it again, or use "
            f"another step ({type(error).__name__}: {str(error).strip().splitlines()[0][:200]})"
        ) from error


def _restore_numpy(path: Path) -> dict:
    # The handler itself: a Checkpointer around it warns that `path` has no metadata of its own.
    handler = ocp.PyTreeCheckpointHandler()
    metadata = handler.metadata(path).tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata)
    return handler.restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
