"""The resumable world: the train state and the position in the data, saved and restored together."""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from scenarioclip_jax import faults
from scenarioclip_jax.checkpoint import CheckpointError, flatten, nest
from scenarioclip_jax.command import Config, ConfigError, listed, naming
from scenarioclip_jax.console import say
from scenarioclip_jax.data.packing.measure import Crew
from scenarioclip_jax.data.pipeline import TrainIterator, train_iterator
from scenarioclip_jax.data.settings import CONFIG_KEYS
from scenarioclip_jax.parallel.distributed import values_of_all, wait_for_all
from scenarioclip_jax.parallel.mesh import local_groups
from scenarioclip_jax.renamed import new_name, with_new_names
from scenarioclip_jax.train.best import Best
from scenarioclip_jax.train.checkpoints import Checkpoints
from scenarioclip_jax.train.config import plain
from scenarioclip_jax.train.data import RunData, share_corrupt
from scenarioclip_jax.train.metrics import finite
from scenarioclip_jax.train.objective import TERMS
from scenarioclip_jax.train.setup import Run
from scenarioclip_jax.train.state import TrainState

# Keys, or sections, that a run may change when it resumes: where it runs, what it logs, and how it splits up
# a computation whose result stays the same.
FREE = ("log_every", "checkpoint", "validation", "report", "mesh", "compilation_cache", "init_from")
FREE += (
    "init_heads",
    "resume",
    "model/remat",
    "model/unroll",
    "model/attention",
    "loss/accumulate",
)
FREE += ("data/dir", "data/tokenizer", "data/num_workers", "data/num_threads", "data/prefetch")
FREE += ("data/stall_seconds", "data/max_corrupt_share", "finetune/patience", "finetune/shares")
FREE += ("finetune/rank",)  # optimizer/lora_rank follows from it
# Keys that change what is computed next but not the state, so that a run may change them on purpose.
ALLOWABLE = ("steps", "epochs", "data/packing_groups", "optimizer/skip_nonfinite")
ALLOWABLE += ("data/global_text", "data/caption_share")
ALLOWABLE += ("optimizer/learning_rate", "optimizer/warmup_fraction", "optimizer/warmup_start")
ALLOWABLE += ("optimizer/clip_norm", "optimizer/b1", "optimizer/b2", "optimizer/eps")
ALLOWABLE += ("optimizer/weight_decay", "optimizer/learning_rate_scale", "loss/products")
ALLOWABLE += ("optimizer/layer_decay",)
ALLOWABLE += tuple(f"loss/terms/{name}" for name in TERMS)
# Keys that were added later, with the values that describe runs from before.
CAME_LATER = {"ema/keep": "all", "optimizer/mu_dtype": "float32", "data/balance": False}
CAME_LATER |= {"optimizer/layer_decay": 1.0, "demo_data/tier": "plain"}
CAME_LATER |= {"optimizer/lora_rank": [[".*", 0]], "optimizer/lora_scale": 2.0}
CAME_LATER |= {"optimizer/lora_rate": 10.0}
CAME_LATER |= {"loss/products": "auto", "data/global_text": "action", "data/caption_share": 0.5}
CAME_LATER |= {"data/region_style": "stored", "model/regions": "views", "model/object_parts": 1}
CAME_LATER |= {"model/ends_as_objects": False}
CAME_LATER |= {"data/make_negatives": 0, "data/make_paraphrases": 0}
CAME_LATER |= {"data/caption_sentences": False}
CAME_LATER |= {f"data/levels/{level}/further_per_scene": 0.0 for level in ("scene", "relation")}
CAME_LATER |= {f"loss/terms/{name}": 0.0 for name in TERMS}
CAME_LATER |= {f"loss/level_weights/{key}": 1.0 for key in CONFIG_KEYS.values()}


@dataclasses.dataclass
class World:
    """What a run saves and restores together; the loop advances it step by step.

    Attributes:
      checkpoints: Where the world is saved.
      state: The train state after `step` steps.
      batches: The training batches; the next one belongs to step + 1.
      step: Steps taken so far. `state.step` holds the same number, but reading it waits for the device.
      validated: Whether the validation that is due at this step was already done.
      changes: Settings that were changed on purpose so far, each with its `step`, `key`, `was` and `now`.
      metrics: Metrics of the last step; None until this process has taken one.
      scores: Scores of the validation at this step, if this process ran it.
      best: The best validation so far.
    """

    checkpoints: Checkpoints
    state: TrainState
    batches: TrainIterator
    step: int
    validated: bool = False
    changes: Sequence[dict] = ()
    metrics: dict[str, jax.Array] | None = None
    scores: dict[str, float] | None = None
    best: Best | None = None


def save(run: Run, world: World, *, alone: bool = False) -> None:
    """Saves the world; if its step is saved already, adds the scores that the checkpoint lacks.

    A resumed run continues with the first batch that wasn't trained on, however far ahead batches were read.
    States that follow a NaN or infinite loss are not saved.

    Args:
      alone: Whether to save without asking the other processes which records they found corrupt.

    Raises:
      NonFiniteLossError: The last step's loss was NaN or infinite.
    """
    step, config, checkpoints = world.step, run.config, world.checkpoints
    if checkpoints.latest == step:
        # A stop came between that save and the validation; without its score, keep-best would choose otherwise.
        if world.scores is not None:
            checkpoints.add_metrics(step, world.scores)
        return
    if world.metrics is not None:
        values = {k: float(v) for k, v in jax.device_get(world.metrics).items()}
        finite(step, values, config.optimizer.skip_nonfinite)
    if not alone:
        share_corrupt(world.batches, f"when step {step} is saved")
    checkpoints.save(
        step,
        arrays=_items(world.state),
        records={
            "data": world.batches.get_state() | {"step": step},
            "config": plain(config),
            "progress": {
                "validated": world.scores is not None,
                "changes": list(world.changes),
                "best": world.best,
            },
            # Needed to start from these weights or to convert them.
            "teacher": _teacher(config, world.state),
        },
        metrics=world.scores,
    )


def start_or_resume(
    run: Run, data: RunData, checkpoints: Checkpoints, stop: Callable[[], bool] = lambda: False
) -> World:
    """Returns a new state at the beginning of the data, or the state of the newest checkpoint.

    Args:
      stop: Called while scenes are measured; returns True to stop.

    Raises:
      ConfigError: The checkpoint comes from a run that computed something else, or processes would train on
        scenes in different orders.
      CheckpointError: There are checkpoints and none can be read, or the newest can't be read right now.
      MeasuringStopped: `stop` returned True.
    """
    crew = Crew(
        jax.process_index(),
        jax.process_count(),
        wait_for_all,
        stop,
        lambda holds: all(values_of_all(holds, "sizes of the scenes are looked for")),
    )
    groups = local_groups(run.mesh, run.settings.packing_groups)
    with naming("data"):
        folder = data.sizes_folder
        batches = train_iterator(data.train, data.tokenizer, run.settings, groups, folder, crew)
    if run.settings.balance:
        _check_order(batches.get_state()["balance"], folder)
    found = _newest_readable(run.config, _items(run.state_like), checkpoints)
    if found is None:
        return World(checkpoints, run.init(), batches, step=0)
    records, items = found
    changes = [*records["progress"].get("changes", []), *records["changed"]]
    regrouped = any(c["key"] == "config.data.packing_groups" for c in records["changed"])
    with naming("data"):
        batches.set_state(records["data"], regrouped=regrouped)
    state = _state(run, items)
    best = records["progress"].get("best")
    return World(
        checkpoints,
        state,
        batches,
        step=int(state.step),
        validated=records["progress"]["validated"],
        changes=changes,
        best=Best(*best) if best else None,
    )


def go_back(run: Run, world: World, step: int) -> None:
    """Returns to the state of an earlier checkpoint and removes those behind it, so that it is the newest.

    The position in the data stays as it is: a run that goes back is at its end.
    """
    items = world.checkpoints.restore(step, arrays=_items(run.state_like), records=())
    world.state, world.step, world.metrics = _state(run, items), step, None
    world.checkpoints.remove_after(step)


def _state(run: Run, items: dict) -> TrainState:
    """The train state from the arrays of a checkpoint."""
    params = flatten(items["params"])
    return TrainState(
        step=items["train"]["step"],
        skipped=items["train"]["skipped"],
        ema_steps=items["train"]["ema_steps"],
        trainable={path: params[path] for path in run.state_like.trainable},
        frozen={path: params[path] for path in run.state_like.frozen},
        ema=flatten(items[_ema_item(run.state_like)]),
        opt_state=items["train"]["opt_state"],
    )


def _check_order(digest: str, folder: Path) -> None:
    """Checks that all processes deal scenes to batches in the same way.

    They have to, since several may hold parts of the same groups, or take groups over after a resume.

    Args:
      digest: Digest of this process's sizes.
    """
    found = values_of_all(int(digest[:7], 16), "the sizes of the scenes are known")
    if len(set(found)) > 1:
        raise ConfigError(
            "config.data.balance=True: processes see different data sets, or one couldn't read some of the "
            f"scenes when it measured them. Compare {folder} on all machines, delete sizes-*.npz there, "
            "and start again"
        )


class Verdict(enum.IntEnum):
    """The result of reading a checkpoint; the highest one among all processes counts."""

    READ = 0
    DAMAGED = 1
    NOT_NOW = 2  # for a reason that lies elsewhere


def _verdict(error: Exception | None) -> Verdict:
    if error is None:
        return Verdict.READ
    return Verdict.NOT_NOW if faults.passes(error) else Verdict.DAMAGED


def _newest_readable(
    config: Config, like: dict, checkpoints: Checkpoints
) -> tuple[dict, dict] | None:
    """Reads records and arrays of the newest readable checkpoint; None if there is no checkpoint.

    Damaged checkpoints are set aside, but only once an older one was read. If none can be read, the cause lies
    elsewhere (changed code or libraries), and a run that started over would bury what they hold.

    Args:
      like: The arrays, as jax.ShapeDtypeStruct with shardings.
    """
    damaged: dict[int, str] = {}
    for step in reversed(checkpoints.steps):
        error = None
        try:
            records = checkpoints.restore(step, arrays={}, records=("data", "config", "progress"))
            records["changed"] = changed_on_purpose(records["config"], plain(config), step)
            items = checkpoints.restore(step, arrays=like, records=())
        except ConfigError:
            raise
        except (
            Exception
        ) as raised:  # damaged files make Orbax and its libraries raise all kinds of errors
            error = raised
        # One process may fail where others don't, but all must act the same.
        verdict = max(values_of_all(_verdict(error), f"the checkpoint of step {step} was read"))
        why = f"{type(error).__name__}: {str(error)[:200]}" if error else "in another process"
        if verdict == Verdict.NOT_NOW:
            raise CheckpointError(
                f"the checkpoint of step {step} can't be read now ({why}); it may be whole, so nothing was "
                "moved. Mend the cause and start the same command again"
                + (f": {faults.remedy(error)}" if error else "")
            ) from error
        if verdict == Verdict.READ:
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
            say(
                f"the checkpoint of step {bad} can't be read and was moved to {moved}; going on from step "
                f"{step} ({why})"
            )
    return records, items


def _teacher(config: Config, state: TrainState) -> dict:
    """The record of the EMA teacher; empty unless its average covers a whole model."""
    if "ema" not in state.weights():
        return {}
    steps = {"steps": int(state.ema_steps)}
    return steps | {key: config.ema[key] for key in ("decay", "warmup_steps")}


def _ema_item(state: TrainState) -> str:
    """Names the EMA. A partial average has its own name, so that it isn't mistaken for a model."""
    return "ema" if "ema" in state.weights() or not state.ema else "ema_of_teacher"


def _items(state: TrainState) -> dict:
    counts = {name: getattr(state, name) for name in ("step", "skipped", "ema_steps")}
    return {
        "params": nest(state.student()),
        _ema_item(state): nest(state.ema),
        "train": {**counts, "opt_state": state.opt_state},
    }


def changed_on_purpose(saved: dict, current: dict, step: int) -> list[dict]:
    """Returns the settings that differ from the saved config and that `config.resume.allow` names.

    Raises:
      ConfigError: Other settings differ, or `allow` names a setting that can't be changed.
    """
    allowed = {key.replace(".", "/") for key in listed(current["resume"]["allow"])}
    for key in sorted(allowed):
        if new := new_name(_dotted(key)):
            raise ConfigError(f"config.resume.allow names {_dotted(key)}: this is {new} now")
    if wrong := sorted(allowed - set(ALLOWABLE)):
        raise ConfigError(
            f"config.resume.allow names {', '.join(_dotted(k) for k in wrong)}: on purpose, a run "
            f"may change {', '.join(_dotted(k) for k in ALLOWABLE)}; what computes the same may change anyway"
        )
    _check_start(saved, current, step)
    old, new = CAME_LATER | _flat(with_new_names(saved)), _flat(current)
    # `steps` replaces `epochs`, so changing one changes both.
    allowed |= {"steps", "epochs"} if allowed & {"steps", "epochs"} else set()
    differing = sorted(k for k in old | new if old.get(k) != new.get(k))
    refused = [k for k in differing if k not in allowed]
    if refused:
        said = "; ".join(
            f"config.{_dotted(k)} was {old.get(k)!r} and is {new.get(k)!r}" for k in refused
        )
        on_purpose = ",".join(_dotted(k) for k in differing)
        hint = (
            f", or add --config.resume.allow={on_purpose} to change that from here on"
            if set(refused) <= set(ALLOWABLE)
            else ""
        )
        raise ConfigError(
            f"the checkpoint of step {step} was made by another run: {said}. Give the same settings to go "
            f"on with it{hint}, or another --workdir to start anew"
        )
    return [
        {"step": step, "key": f"config.{_dotted(k)}", "was": old.get(k), "now": new.get(k)}
        for k in differing
    ]


def _check_start(saved: dict, current: dict, step: int) -> None:
    """Checks that `init_from` names no other weights, since a run that resumes reads none."""
    was, now = saved.get("init_from"), current["init_from"]
    if now and now != was and not (was and Path(was).resolve() == Path(now).resolve()):
        raise ConfigError(
            f"config.init_from={now}: weights are read only when a run starts, and the run of this checkpoint "
            f"(step {step}) started from {was or 'random ones'}. Leave it out to go on, or name another "
            "--workdir to start anew"
        )


def _flat(config: dict) -> dict:
    flat = flatten(config)
    return {
        key: value
        for key, value in flat.items()
        if not any(key == free or key.startswith(f"{free}/") for free in FREE)
    }


def _dotted(key: str) -> str:
    return key.replace("/", ".")
