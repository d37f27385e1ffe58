"""The report at the end of a run: `report.json` for machines, `report.html` (one file) for people."""

import base64
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from scenarioclip_jax.command import Config
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.evaluation_batches import EvaluationBatches
from scenarioclip_jax.data.stored.shards import SceneSource
from scenarioclip_jax.evaluation.report import pictures
from scenarioclip_jax.evaluation.report.page import render
from scenarioclip_jax.evaluation.score.recognition import CLASS_LISTS, Recognition
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.files import write_text
from scenarioclip_jax.train.data import DataSet, RunData
from scenarioclip_jax.train.drawn import told
from scenarioclip_jax.train.metrics import read_rows
from scenarioclip_jax.train.resume import World
from scenarioclip_jax.train.setup import Run
from scenarioclip_jax.train.watch import Watch

GALLERY_SCENES = 512  # that the shown retrievals search
NEAREST = 5
LOSS = "Training loss"


def write_report(run: Run, world: World, data: RunData, watch: Watch, workdir: Path) -> None:
    """Scores student and EMA on the test split and writes both reports.

    Raises:
      Stopped: A stop was requested meanwhile.
    """
    config, changes = run.config, world.changes
    found: dict[str, Recognition] = {}  # by weights, of all data sets together
    of_sets: dict[str, dict[str, Recognition]] = {}  # by weights and data set
    if any(each.test is not None for each in data.sets):
        watch.progress.say("recognizing the test split")
        for name, params in world.state.weights().items():
            of_sets[name], found[name] = watch.validator.recognize(
                params, "test", config.report.scenes
            )
    rows = read_rows(workdir / "metrics.jsonl")
    summary = {
        "preset": config.preset,
        "arch": config.arch,
        "seed": config.seed,
        "steps": run.steps,
        "scenes": len(data.train),
        "split": "test",
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "changes": list(changes),
        "zero_shot": found["student"].scores if found else {},
        "zero_shot_ema": found["ema"].scores if "ema" in found else {},
    }
    read = watch.drawn(run.steps)
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
    if jax.process_index():
        return  # every process took part in the recognition; only the first one writes
    first_batch = workdir / "first_batch.png"
    shown = [each for each in data.sets if each.test is not None]
    tests = [each.test for each in data.sets if each.test is not None]
    page = render(
        Path(__file__).with_name("report.html"),
        title=f"{config.arch}, preset {config.preset}",
        subtitle=f"{run.steps} steps of {config.data.batch_size} scenes, {len(data.train)} scenes to learn "
        f"from, seed {config.seed}, on {summary['devices']}. {run.table.splitlines()[-1]}."
        f"{_changed(changes)}{f' Data: {told(read)}.' if read else ''}",
        rows=[row for level in LEVELS for row in _level_rows(found, of_sets, level)],
        mixture=len(data.sets) > 1,
        curves=[
            pictures.to_html(figure)
            for figure in _curves(rows, [each.name for each in data.sets], run.steps)
        ],
        training=_training_note(rows),
        retrievals={
            title: figure
            for each in shown
            for title, figure in _retrievals(run, data, each, of_sets["student"]).items()
        },
        gallery=max((_gallery_scenes(config, test) for test in tests), default=0),
        first_batch=_embed(first_batch) if first_batch.is_file() else None,
    )
    write_text(workdir / "report.html", page)
    # Written last, because launchers treat a run that has it as finished.
    write_text(workdir / "report.json", json.dumps(summary, indent=2) + "\n")
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


def _gallery_scenes(config: Config, test: SceneSource) -> int:
    """How many test scenes the shown retrievals search: those that were recognized, up to `GALLERY_SCENES`."""
    return min(GALLERY_SCENES, config.report.scenes or GALLERY_SCENES, len(test))


def _level_rows(
    found: dict[str, Recognition], of_sets: dict[str, dict[str, Recognition]], level: str
) -> list[dict]:
    """The rows of a level: of all data of the run, then of each data set of a mixture."""
    rows = _table_rows(found, level, "")
    for name in next(iter(of_sets.values()), {}):
        if name:
            of_set = {weights: each[name] for weights, each in of_sets.items()}
            rows += _table_rows(of_set, level, name)
    return rows


def _table_rows(found: dict[str, Recognition], level: str, name: str) -> list[dict]:
    rows = []
    for weights, recognition in found.items():
        scores = recognition.scores.get(level)
        if scores:
            percents = {k: f"{scores[k]:.1%}" for k in ("top1", "top5", "top10")}
            rows.append(
                percents
                | {
                    "first": not rows,
                    "level": f"{level}, {name}" if name else level,
                    "weights": weights,
                    "count": f"{scores['count']:.0f}",
                    "classes": f"{scores['classes']:.0f}",
                    "chance": f"{scores['chance_top1']:.2%}",
                    "times": f"{scores['top1'] / scores['chance_top1']:.0f}",
                    "any": f"{scores['any_label_top1']:.1%}",
                }
            )
    return rows


def _curves(rows: list[dict], names: Sequence[str], steps: int) -> list:
    """The figures of a run on data sets of these names: the loss, and the validation of each data set.

    What the data sets of a mixture score together is in the table only.
    """

    def series(name: str) -> tuple[list, list]:
        points = [(row["step"], row[name]) for row in rows if name in row]
        return [p[0] for p in points], [p[1] for p in points]

    def validation(metrics: dict[str, str], data: str) -> dict[str, tuple[list, list]]:
        """Chart lines by name: the student, its EMA and chance."""
        kinds = {"student": "", "ema": pictures.EMA, "chance": pictures.CHANCE}
        return {
            name + ending: series(f"validation/{data}{kind}/{metric}")
            for name, metric in metrics.items()
            for kind, ending in kinds.items()
        }

    losses = {level: series(f"loss/{level}") for level in LEVELS}
    losses["distillation"] = series("loss/distillation")
    charts = [(LOSS, losses)]
    for name in names:
        data, ending = (f"{name}/", f": {name}") if name else ("", "")
        charts += [
            (title + ending, validation(metrics, data))
            for title, metrics in (
                ("Zero-shot top-1, strict", {v: f"{v}/top1" for v in LEVELS}),
                ("Text to picture, R@5", {v: f"{v}/text_to_image/R5" for v in LEVELS}),
                ("Picture to text, R@5", {v: f"{v}/image_to_text/R5" for v in LEVELS}),
                ("Hard negatives beaten", _hard_negatives(rows, data)),
            )
        ]
    figures = []
    for title, lines in charts:
        lines = {name: line for name, line in lines.items() if line[0]}
        if lines:
            percent = title != LOSS
            figures.append(
                pictures.curves(
                    lines, title=title, colors=pictures.COLORS, steps=steps, percent=percent
                )
            )
    return figures


def _hard_negatives(rows: list[dict], data: str) -> dict[str, str]:
    """Metrics by name: all negatives, and each kind that the validation split has."""
    prefix = f"validation/{data}student/"
    metrics = [name.removeprefix(prefix) for row in rows for name in row if name.startswith(prefix)]
    found = [name for name in dict.fromkeys(metrics) if "/hard_negatives/" in name]
    return {name.rsplit("/", 1)[1].replace("_", " "): name for name in found}


def _training_note(rows: list[dict]) -> str:
    steps = [row for row in rows if "loss/total" in row]
    if not steps:
        return ""
    rates = [row["time/scenes_per_second"] for row in steps[1:]] or [0.0]
    note = f"Median {np.median(rates):.1f} scenes a second"
    waits = [row["time/data_wait_share"] for row in steps[1:]] or [0.0]
    note += f", {np.median(waits):.1%} of the time waiting for data."
    for level in ("object", "relation"):
        fill = [row[k] for row in steps if (k := f"packing/{level}_fill") in row]
        left = [row[k] for row in steps if (k := f"packing/{level}_left_out") in row]
        if fill:
            note += f" {level.capitalize()} slots filled {np.mean(fill):.1%}, left out {np.mean(left):.2%}."
    return note


def _retrievals(
    run: Run, data: RunData, shown_set: DataSet, by_set: dict[str, Recognition]
) -> dict[str, str]:
    """One figure per level: some of the gallery's texts, drawn at random, and their nearest images."""
    test, found = shown_set.test, by_set[shown_set.name]
    assert test is not None  # its scenes were recognized
    config, scenes = run.config, range(_gallery_scenes(run.config, test))
    batches = list(EvaluationBatches(test, data.tokenizer, data.settings, scenes))
    shown, wanted = {}, {level: set() for level in LEVELS}
    for level, gallery in found.galleries.items():
        if level not in found.scores or not config.report.queries:
            continue
        # The gallery is in the split's order, so the first scenes' rows come first.
        count = sum(int(batch.levels[level].mask.sum()) for batch, _ in batches)
        if not count:
            continue
        images = normalize(gallery.embeddings[:count])
        texts = sorted(set(gallery.texts[:count]))
        shuffled = np.random.default_rng(config.seed).permutation(len(texts))
        texts = [texts[i] for i in shuffled[: config.report.queries]]
        classes = shown_set.classes[CLASS_LISTS[level]]
        queries = found.class_embeddings[level][[classes.index(text) for text in texts]]
        nearest = np.argsort(-normalize(queries) @ images.T, axis=1, kind="stable")[:, :NEAREST]
        shown[level] = list(zip(texts, nearest, strict=True))
        wanted[level] = set(nearest.reshape(-1).tolist())
    views = pictures.collect_views(batches, run.view_settings, wanted)
    figures = {}
    for level, queries in shown.items():
        labels = found.galleries[level].texts
        rows = [
            (text, [pictures.hit_or_miss(views[level][i], labels[i], text) for i in near])
            for text, near in queries
        ]
        title = f"{level}, {shown_set.name}" if shown_set.name else level
        figures[title] = pictures.to_html(pictures.picture_grid(rows))
    return figures


def _embed(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
