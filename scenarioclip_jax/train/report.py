"""The report at the end of a run: `report.json` for machines, `report.html` (one file) for people."""

import base64
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.command import Config, ConfigError, listed
from scenarioclip_jax.console import say
from scenarioclip_jax.evaluation.score.recognition import Recognition
from scenarioclip_jax.files import write_text
from scenarioclip_jax.models.params import Params
from scenarioclip_jax.train import best, report_photos, report_wise_ft
from scenarioclip_jax.train.data import DataSet, RunData
from scenarioclip_jax.train.metrics import read_rows
from scenarioclip_jax.train.report_page import write_page
from scenarioclip_jax.train.resume import World
from scenarioclip_jax.train.setup import Run
from scenarioclip_jax.train.times_read import Drawn, told
from scenarioclip_jax.train.watch import Watch
from scenarioclip_jax.train.wise_ft import Share, between, compare, placed

BEFORE = "before fine-tuning"


def write_report(run: Run, world: World, data: RunData, watch: Watch, workdir: Path) -> None:
    """Scores student and EMA on the test split and writes both reports.

    That of a fine-tuning sets the weights that it began with beside them, and weights in between.

    Raises:
      Stopped: A stop was requested meanwhile.
    """
    config = run.config
    found, of_sets = _recognized(run, world, data, watch)
    read = watch.drawn(best.last_step(workdir, run.steps))
    shares = _shares(run, world, watch)
    summary = _summary(run, data, read, list(world.changes), found, of_sets)
    summary |= {"steps": world.step} if world.step != run.steps else {}
    summary |= {"shares": [each._asdict() for each in shares]} if shares else {}
    if jax.process_index():
        return  # every process took part in the recognition; only the first one writes
    tested = [each for each in data.sets if each.test is not None]
    tests = [each.test for each in data.sets if each.test is not None]
    photos = [
        report_photos.photos(run, data, each, of_sets["student"][each.name]) for each in tested
    ]
    for part in photos:
        for name, png in part.grids.items():
            watch.writer.picture(run.steps, f"retrieval/{name}", png)
    first_batch = workdir / "first_batch.png"
    page = write_page(
        _by_data(found, of_sets),
        read_rows(workdir / "metrics.jsonl"),
        steps=run.steps,
        names=[each.name for each in data.sets],
        title=f"{config.arch}, preset {config.preset}",
        facts=_facts(run, world, data, read) | {"Devices": summary["devices"]},
        subtitle=f"{run.table.splitlines()[-1]}.{_changed(world.changes)}",
        examples={title: each for part in photos for title, each in part.examples.items()},
        retrievals={title: each for part in photos for title, each in part.retrievals.items()},
        gallery=max((report_photos.gallery_scenes(config, test) for test in tests), default=0),
        first_batch=_embed(first_batch) if first_batch.is_file() else None,
        shares=(report_wise_ft.chart(shares), report_wise_ft.table(shares)) if shares else None,
    )
    write_text(workdir / "report.html", page)
    # Written last, because launchers treat a run that has it as finished.
    write_text(workdir / "report.json", json.dumps(summary, indent=2) + "\n")
    _say(summary, read, workdir, watch)


def _recognized(
    run: Run, world: World, data: RunData, watch: Watch
) -> tuple[dict[str, Recognition], dict[str, dict[str, Recognition]]]:
    """Recognition of the test split: of all data sets together by weights, then by weights and data set."""
    found: dict[str, Recognition] = {}
    of_sets: dict[str, dict[str, Recognition]] = {}
    if any(each.test is not None for each in data.sets):
        watch.progress.say("recognizing the test split")
        for name, params in _weights(run, world).items():
            of_sets[name], found[name] = watch.validator.recognize(
                params, "test", run.config.report.scenes
            )
    return found, of_sets


def _by_data(
    found: dict[str, Recognition], of_sets: dict[str, dict[str, Recognition]]
) -> dict[str, dict[str, Recognition]]:
    """What `_recognized` returns, by data set and weights; "": all data sets together."""
    by_data = {"": found} if found else {}
    for name in next(iter(of_sets.values()), {}):
        if name:
            by_data[name] = {weights: each[name] for weights, each in of_sets.items()}
    return by_data


def _facts(run: Run, world: World, data: RunData, read: dict[str, Drawn]) -> dict[str, str]:
    """What the page's head says of the run."""
    config = run.config
    directories = "".join(str(each.directory) for each in data.sets)
    tested = [_count(config, each) for each in data.sets if each.test is not None]
    return {
        "Data set": told(read) if len(data.sets) > 1 else directories,
        "Training": f"step {world.step:,}, {config.data.batch_size:,} scenes a step, "
        f"{len(data.train):,} scenes to learn from",
        "Test photos": "; ".join(tested) or "none",
        **_tuned(config),
        "Seed": str(config.seed),
    }


def _tuned(config: Config) -> dict[str, str]:
    """What a fine-tuning began with, and what it trained."""
    if "finetune" not in config:
        return {}
    section = config.finetune
    levels = listed(section.levels)
    which = f"the {levels[0]} level" if len(levels) == 1 else f"the levels {', '.join(levels)}"
    parts = {"full": "everything", "last": f"the last {section.blocks} blocks", "heads": "heads"}
    parts["lora"] = f"matrices of blocks, by rank {section.get('rank')}, and heads"
    few = f", {section.shots} of each class (draw {section.draw})" if section.shots else ""
    trained = f"{parts[section.parts]} of {which}{few}"
    return {"Began with": config.init_from or "an earlier run", "Trained": trained}


def _weights(run: Run, world: World) -> dict[str, Params]:
    """The weights that are scored: of a fine-tuning also those that it began with."""
    weights = world.state.weights()
    if (base := _began_with(run)) is not None:
        weights[BEFORE] = between(base, world.state.student(), 0.0)
    return weights


def _began_with(run: Run) -> Params | None:
    """What a fine-tuning trained, as it was; None if this is none, or if the weights can't be read any more."""
    if "finetune" not in run.config or run.initial is None:
        return None
    try:
        params = run.initial()
    except (
        CheckpointError,
        ConfigError,
    ) as error:  # a run that resumed, which needs them for nothing else
        say(f"the weights before fine-tuning aren't compared: {error}")
        return None
    return placed(
        {path: params[path] for path in run.state_like.trainable}, run.state_like.trainable
    )


def _shares(run: Run, world: World, watch: Watch) -> list[Share]:
    """Scores of weights between the first and the last ones of a fine-tuning."""
    if (base := _began_with(run)) is None:
        return []
    watch.progress.say("comparing weights between those before and after fine-tuning")
    scenes = {"validation": run.config.validation.scenes, "test": run.config.report.scenes}
    return compare(
        base,
        world.state.student(),
        run.config.finetune.shares,
        lambda params, split: watch.validator.main(params, split, scenes[split]),
    )


def _summary(
    run: Run,
    data: RunData,
    read: dict[str, Drawn],
    changes: list[dict],
    found: dict[str, Recognition],
    of_sets: dict[str, dict[str, Recognition]],
) -> dict[str, Any]:
    """The content of `report.json`.

    Args:
      read: What was read of each data set of a mixture; empty if there is only one.
      changes: Settings that were changed on the way.
      found: Recognition of all data together by weights.
      of_sets: The same by weights and data set.
    """
    config = run.config
    summary = {
        "preset": config.preset,
        "arch": config.arch,
        "seed": config.seed,
        "steps": run.steps,
        "scenes": len(data.train),
        "split": "test",
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "changes": changes,
        "zero_shot": found["student"].scores if found else {},
        "zero_shot_ema": found["ema"].scores if "ema" in found else {},
    }
    if BEFORE in found:
        summary["zero_shot_before"] = found[BEFORE].scores
    if read:
        summary["data_sets"] = {
            name: {
                "directory": str(next(s.directory for s in data.sets if s.name == name)),
                **dataclasses.asdict(part),
                "zero_shot": _scores(of_sets, "student", name),
                "zero_shot_ema": _scores(of_sets, "ema", name),
            }
            for name, part in read.items()
        }
    return summary


def _say(summary: dict[str, Any], read: dict[str, Drawn], workdir: Path, watch: Watch) -> None:
    """Tells the main scores."""
    for level, scores in summary["zero_shot"].items():
        watch.progress.say(
            f"{level:>8}: top-1 {scores['top1']:6.1%}  top-5 {scores['top5']:6.1%}  "
            f"chance {scores['chance_top1']:.2%}  ({scores['top1'] / scores['chance_top1']:.0f} x chance, "
            f"{scores['classes']:.0f} classes, {scores['count']:.0f} pictures)"
        )
    for name, part in summary.get("data_sets", {}).items():
        top1 = " ".join(f"{level} {s['top1']:.1%}" for level, s in part["zero_shot"].items())
        watch.progress.say(f"{name}, among its own classes: top-1 {top1 or 'not scored'}")
    if read:
        watch.progress.say(f"data: {told(read)}")
    watch.progress.say(f"report: {workdir / 'report.html'}")


def _scores(
    found: dict[str, dict[str, Recognition]], weights: str, name: str
) -> dict[str, dict[str, float]]:
    """The scores of some weights on a data set; empty if there are none."""
    of_set = found.get(weights, {}).get(name)
    return of_set.scores if of_set else {}


def _changed(changes: Sequence[dict]) -> str:
    """Describes the settings that were changed during the run."""
    told = [f"{c['key']} from {c['was']!r} to {c['now']!r} at step {c['step']}" for c in changes]
    return f" Changed on the way: {'; '.join(told)}." if told else ""


def _count(config: Config, tested: DataSet) -> str:
    """How many scenes of a data set's test split were scored."""
    count = len(tested.test or ())
    count = min(config.report.scenes or count, count)
    return f"{tested.name}: {count:,}" if tested.name else f"{count:,}"


def _embed(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
