"""The resumable world: the train state and the position in the data, saved and restored together."""

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from scenarioclip_jax.checkpoint import CheckpointError, Checkpoints, flatten, nest
from scenarioclip_jax.command import ConfigError, naming
from scenarioclip_jax.data import shards
from scenarioclip_jax.data.pipeline import TrainIterator, train_iterator
from scenarioclip_jax.parallel.distributed import gather
from scenarioclip_jax.train.config import plain
from scenarioclip_jax.train.data import RunData, share_corrupt
from scenarioclip_jax.train.metrics import finite
from scenarioclip_jax.train.setup import Run
from scenarioclip_jax.train.state import TrainState

# Keys that a run may change when it goes on: what it says, not what it computes.
FREE = ("log_every", "checkpoint", "validation", "report", "mesh", "compilation_cache", "init_from")
FREE_DATA = ("dir", "tokenizer", "num_workers", "num_threads", "prefetch")
FREE_DATA += ("stall_seconds", "max_corrupt_share")
# Keys that came later, and what runs did before them.
CAME_LATER = {"ema/whole": True, "optimizer/mu_dtype": "float32", "data/balance": False}


def save(
    checkpoints: Checkpoints,
    config: ConfigDict,
    state: TrainState,
    batches: TrainIterator,
    metrics: dict[str, jax.Array] | None,
    scores: dict[str, float] | None,
) -> None:
    """Saves the world; if its step is saved already, adds the scores that the checkpoint hasn't yet.

    The iterator has given out exactly `state.step` batches here: it is advanced only right before a step
    and never between a step and its save.

    Args:
      metrics: of the last step; a state that a loss that is no number led to is not saved.
      scores: of the last step's validation, if there was one.
    """
    step = int(state.step)
    if checkpoints.latest == step:
        # A stop came between that save and the validation: without its score, keep-best would choose otherwise.
        if scores is not None:
            checkpoints.add_metrics(step, scores)
        return
    if metrics is not None:
        values = {k: float(v) for k, v in jax.device_get(metrics).items()}
        finite(step, values, config.optimizer.skip_nonfinite)
    share_corrupt(batches, f"when step {step} is saved")
    checkpoints.save(
        step,
        arrays=_items(state),
        records={
            "data": batches.get_state(),
            "config": plain(config),
            "progress": {"validated": scores is not None},
            # For whoever starts from these weights, or converts them.
            "teacher": _teacher(config, state),
        },
        metrics=scores,
    )


class World(NamedTuple):
    """What a run starts or goes on with."""

    state: TrainState
    batches: TrainIterator
    validated: bool  # whether the validation that is due at this step was already done


def start_or_resume(
    config: ConfigDict, run: Run, data: RunData, groups: Sequence[int], checkpoints: Checkpoints
) -> World:
    """A new state at the beginning of the data, or the newest checkpoint's.

    Args:
      groups: of every global batch, that this process loads.

    Raises:
      ConfigError: the checkpoint was made by a run that computed something else, or processes would train on
        scenes in different orders.
      CheckpointError: there are checkpoints and none can be read, or the newest can't be read right now.
    """
    with naming("data"):
        folder = shards.dataset_dir(data.directory)
        batches = train_iterator(data.train, data.tokenizer, data.settings, groups, folder)
    if data.settings.balance:
        _check_order(batches.get_state()["balance"], folder)
    found = _newest_readable(config, _items(run.state_like), checkpoints)
    if found is None:
        return World(run.init(), batches, validated=False)
    records, items = found
    with naming("data"):
        batches.set_state(records["data"])
    params = flatten(items["params"])
    state = TrainState(
        step=items["train"]["step"],
        skipped=items["train"]["skipped"],
        ema_steps=items["train"]["ema_steps"],
        trainable={path: params[path] for path in run.state_like.trainable},
        frozen={path: params[path] for path in run.state_like.frozen},
        ema=flatten(items[_ema_item(run.state_like)]),
        opt_state=items["train"]["opt_state"],
    )
    return World(state, batches, records["progress"]["validated"])


def _check_order(digest: str, folder: Path) -> None:
    """Processes that hold parts of the same groups, or take them over after a resume, have to deal them alike.

    Args:
      digest: of this process's sizes.
    """
    found = gather(int(digest[:7], 16), "the sizes of the scenes are known")
    if len(set(found)) > 1:
        raise ConfigError(
            "config.data.balance=True: processes see different data sets, or one couldn't read some of the "
            f"scenes when it measured them. Compare {folder} on all machines, delete sizes-*.npz there, "
            "and start again"
        )


READ, DAMAGED, NOT_NOW = range(3)
# What a missing or mangled file leads to. Other errors of the operating system pass, or are for people to mend.
OF_DAMAGED_FILES = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
PASSING = ("RESOURCE_EXHAUSTED", "out of memory", "Input/output error", "Too many open files")


def _verdict(error: Exception | None) -> int:
    """Whether a checkpoint was read, is damaged, or can't be read for a reason that lies elsewhere."""
    if error is None:
        return READ
    elsewhere = isinstance(error, MemoryError) or any(sign in str(error) for sign in PASSING)
    if isinstance(error, OSError):
        elsewhere = elsewhere or error.errno not in OF_DAMAGED_FILES
    return NOT_NOW if elsewhere else DAMAGED


def _newest_readable(
    config: ConfigDict, like: dict, checkpoints: Checkpoints
) -> tuple[dict, dict] | None:
    """Records and arrays of the newest checkpoint that can be read; None if there is no checkpoint.

    Damaged ones are set aside, but only when an older one was read. If none can be, the cause lies elsewhere
    (other code, other libraries), and a run that began anew would bury what they hold.

    Args:
      like: the arrays, as jax.ShapeDtypeStruct with shardings.
    """
    damaged: dict[int, str] = {}
    for step in reversed(checkpoints.steps):
        error = None
        try:
            records = checkpoints.restore(step, arrays={}, records=("data", "config", "progress"))
            _require_same(records["config"], plain(config), step)
            items = checkpoints.restore(step, arrays=like, records=())
        except ConfigError:
            raise
        except (
            Exception
        ) as raised:  # Orbax and its libraries raise whatever a damaged file leads to
            error = raised
        # One process may fail where others don't; all go the same way.
        verdict = max(gather(_verdict(error), f"the checkpoint of step {step} was read"))
        why = f"{type(error).__name__}: {str(error)[:200]}" if error else "in another process"
        if verdict == NOT_NOW:
            raise CheckpointError(
                f"the checkpoint of step {step} can't be read now ({why}); it may be whole, so nothing was "
                "moved. Mend the cause and start the same command again"
            ) from error
        if verdict == READ:
            break
        damaged[step] = why
    else:
        if not damaged:
            return None
        listed = "; ".join(f"step {step} ({why})" for step, why in damaged.items())
        raise CheckpointError(
            f"none of the checkpoints in {checkpoints.manager.directory} can be read: {listed}. Nothing was "
            "moved or changed. If code or libraries have changed since, go back to those; else copy a "
            "checkpoint that is whole there, or start anew in another --workdir"
        )
    for bad, why in damaged.items():
        moved = checkpoints.set_aside(bad)
        if jax.process_index() == 0:
            print(
                f"the checkpoint of step {bad} can't be read and was moved to {moved}; going on from step "
                f"{step} ({why})",
                flush=True,
            )
    return records, items


def _teacher(config: ConfigDict, state: TrainState) -> dict:
    """The record of an EMA that is a model."""
    if "ema" not in state.weights():
        return {}
    steps = {"steps": int(state.ema_steps)}
    return steps | {key: config.ema[key] for key in ("decay", "warmup_steps")}


def _ema_item(state: TrainState) -> str:
    """An average in part has a name of its own: no one may take it for a model."""
    return "ema" if "ema" in state.weights() or not state.ema else "ema_of_teacher"


def _items(state: TrainState) -> dict:
    counts = {name: getattr(state, name) for name in ("step", "skipped", "ema_steps")}
    return {
        "params": nest(state.student()),
        _ema_item(state): nest(state.ema),
        "train": {**counts, "opt_state": state.opt_state},
    }


def _require_same(saved: dict, current: dict, step: int) -> None:
    """Raises ConfigError naming the keys that differ between the saved config and this run's."""

    def flat(config: dict) -> dict:
        config = {k: v for k, v in config.items() if k not in FREE}
        config["data"] = {k: v for k, v in config["data"].items() if k not in FREE_DATA}
        return flatten(config)

    old, new = CAME_LATER | flat(saved), flat(current)
    changed = sorted(k for k in old | new if old.get(k) != new.get(k))
    if changed:
        listed = "; ".join(
            f"config.{k.replace('/', '.')} was {old.get(k)!r} and is {new.get(k)!r}"
            for k in changed
        )
        raise ConfigError(
            f"the checkpoint of step {step} was made by another run: {listed}. Give the same settings to go "
            "on with it, or another --workdir to start anew"
        )
