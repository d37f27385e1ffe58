"""Early stopping: a fine-tuning ends when validation gets no better, with the weights that were best."""

import json
from pathlib import Path
from typing import NamedTuple

import jax

from scenarioclip_jax.command import Config, ConfigError
from scenarioclip_jax.files import write_text
from scenarioclip_jax.parallel.distributed import wait_for_all

FILE = "early_stop.json"  # beside the checkpoints of a run that ended early: its `best` step, and its last


class Best(NamedTuple):
    """The best validation of a run so far.

    Attributes:
      step: Its step.
      score: Its score.
      since: Validations after it, none of which was better.
      last: Step of the last validation; -1 in runs of before this was kept.
    """

    step: int
    score: float
    since: int = 0
    last: int = -1


def better(best: Best | None, step: int, score: float) -> Best:
    """The best of what was known and of a new score; of equal ones, the earlier.

    The same validation, made again after a run resumed, counts once.
    """
    if best is None or score > best.score:
        return Best(step, score, 0, step)
    return (
        best
        if step <= max(best.step, best.last)
        else Best(best.step, best.score, best.since + 1, step)
    )


def patience(config: Config) -> int:
    """Validations without a better score after which a run ends; 0: it never ends early."""
    return config.finetune.patience if "finetune" in config else 0


def check_workdir(config: Config, *, in_bucket: bool) -> None:
    """Raises ConfigError if a run that ends early couldn't go back to its best step."""
    if patience(config) and in_bucket and jax.process_count() > 1:
        raise ConfigError(
            f"config.finetune.patience={config.finetune.patience}: several processes whose workdir lies in a "
            "bucket can't go back to the best step, since only the first one has its checkpoint; set "
            "config.finetune.patience=0, or name a shared folder in --workdir"
        )


def is_over(config: Config, best: Best | None) -> bool:
    """Whether a run ends, because its last validations were no better than `best`."""
    return best is not None and 0 < patience(config) <= best.since


def remember(workdir: Path, best: int, last: int, steps: int) -> None:
    """Writes down that a run of `steps` steps ended at step `last`, and went back to the one of step `best`."""
    if jax.process_index() == 0:
        text = json.dumps({"best": best, "last": last, "steps": steps}) + "\n"
        write_text(workdir / FILE, text)
    wait_for_all("the early stop is written down")


def has_ended(workdir: Path, step: int, steps: int) -> bool:
    """Whether a run of `steps` steps, whose newest checkpoint is that of `step`, has gone back to it."""
    known = _read(workdir)
    return known is not None and (known["best"], known["steps"]) == (step, steps)


def last_step(workdir: Path, steps: int) -> int:
    """The last step that a run of `steps` steps took before it went back to its best one."""
    known = _read(workdir)
    return known["last"] if known is not None and known["steps"] == steps else steps


def _read(workdir: Path) -> dict[str, int] | None:
    try:
        found = json.loads((workdir / FILE).read_text(encoding="utf-8"))
        return {name: int(found[name]) for name in ("best", "last", "steps")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
