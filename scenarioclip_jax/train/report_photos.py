"""Photos of a run's report: hits and misses of recognition, and the photos nearest to some texts."""

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from scenarioclip_jax.command import Config
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.corrupt import Corrupt, read_scene
from scenarioclip_jax.data.evaluation_batches import EvaluationBatches
from scenarioclip_jax.data.stored.shards import SceneSource
from scenarioclip_jax.evaluation.report import pictures
from scenarioclip_jax.evaluation.report.shots import MISSING, Shot, collect_shots, shown
from scenarioclip_jax.evaluation.score.recognition import CLASS_LISTS, Recognition
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.train.data import DataSet, RunData
from scenarioclip_jax.train.setup import Run

GALLERY_SCENES = 512  # that the shown photos are from
NEAREST = 5
SHOWN = 6  # hits and misses of each level

Row = tuple[int, str, bool | None]  # row in the gallery, caption, whether it is right
Chosen = tuple[
    dict[str, list[Row]], dict[str, list[Row]]
]  # by title: hits and misses, and nearest ones
Titled = dict[str, list[dict[str, Any]]]  # photos as `pieces.html` shows them, by title


class Photos(NamedTuple):
    examples: Titled  # hits and misses
    retrievals: Titled
    grids: dict[str, bytes]  # the retrievals of each level as a PNG, for TensorBoard


def gallery_scenes(config: Config, test: SceneSource) -> int:
    """How many test scenes the photos are from: those that were recognized, up to `GALLERY_SCENES`."""
    return min(GALLERY_SCENES, config.report.scenes or GALLERY_SCENES, len(test))


def photos(run: Run, data: RunData, shown_set: DataSet, found: Recognition) -> Photos:
    """Photos of a data set's test split, drawn by chance because the best ones would flatter.

    Args:
      found: The student's recognition of that split.
    """
    test = shown_set.test
    assert test is not None  # its scenes were recognized
    config, scenes = run.config, range(gallery_scenes(run.config, test))
    batches = EvaluationBatches(test, data.tokenizer, data.settings, scenes)
    seen = list(batches)
    chosen = _choose(config, shown_set, found, seen)
    wanted = {
        level: {row for part in parts for each in part.values() for row, _, _ in each}
        for level, parts in chosen.items()
    }
    views = {}
    if not data.settings.pooled_regions:  # such a tower sees the whole photo
        views = pictures.collect_views(
            seen,
            run.view_settings,
            {level: rows for level, rows in wanted.items() if level != "global"},
        )
    readable = (
        scene
        for index in scenes
        if index not in batches.corrupt.reasons
        and not isinstance(scene := read_scene(test, index), Corrupt)
    )
    shots = collect_shots(readable, wanted, views)
    prefix = f"{shown_set.name}, " if shown_set.name else ""
    examples, retrievals = (
        {
            f"{prefix}{level}: {title}": [
                shown(shots[level].get(row, MISSING), caption, right)
                for row, caption, right in each
            ]
            for level, parts in chosen.items()
            for title, each in parts[part].items()
            if each
        }
        for part in (0, 1)
    )
    grids = {
        f"{prefix}{level}": _grid(shots[level], nearest) for level, (_, nearest) in chosen.items()
    }
    return Photos(examples, retrievals, grids)


def _choose(
    config: Config, shown_set: DataSet, found: Recognition, seen: list
) -> dict[str, Chosen]:
    """Rows of the gallery by level: hits and misses, and those nearest to some texts.

    Args:
      seen: The batches that the rows are from, with their labels.
    """
    chosen: dict[str, Chosen] = {}
    for level in LEVELS:
        # The gallery is in the split's order, so the first scenes' rows come first.
        count = sum(
            int((batch.levels[level].mask & (labels[level].text != "")).sum())
            for batch, labels in seen
        )
        if level in found.scores and config.report.queries and count:
            classes = shown_set.classes[CLASS_LISTS[level]]
            own = found.galleries[level].texts[:count]
            scores = (
                normalize(found.galleries[level].embeddings[:count])
                @ normalize(found.class_embeddings[level]).T
            )
            draw = np.random.default_rng(config.seed)
            chosen[level] = (
                _hits_and_misses(own, classes, scores, draw),
                _nearest(own, classes, scores, draw, config.report.queries),
            )
    return chosen


def _grid(shots: Mapping[int, Shot], nearest: Mapping[str, list[Row]]) -> bytes:
    """The photos nearest to some texts, a row per text, as a PNG."""
    gone = np.full((8, 8, 3), 128, np.uint8)
    rows = []
    for title, near in nearest.items():
        found = [(shots.get(row, MISSING).photo, caption, right) for row, caption, right in near]
        rows.append(
            (
                title,
                [
                    pictures.Shown(
                        gone if photo is None else photo,
                        f"{pictures.RIGHT_MARK} {caption}" if right else caption,
                        pictures.RIGHT if right else None,
                    )
                    for photo, caption, right in found
                ],
            )
        )
    buffer = io.BytesIO()
    pictures.picture_grid(rows).savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    return buffer.getvalue()


def _hits_and_misses(own, classes, scores: np.ndarray, draw) -> dict[str, list[Row]]:
    """Some hits and some misses of recognition, by title; a tie is wrong, as it is scored."""
    index = {text: i for i, text in enumerate(classes)}
    labels = np.array([index[text] for text in own])
    rivals = scores.copy()
    rivals[np.arange(len(own)), labels] = -np.inf
    hits = rivals.max(axis=1) < scores[np.arange(len(own)), labels]
    found = {}
    for title, rows in (("hits", np.flatnonzero(hits)), ("misses", np.flatnonzero(~hits))):
        found[title] = [
            (
                row,
                own[row] if hits[row] else f"{own[row]}, not {classes[rivals[row].argmax()]}",
                bool(hits[row]),
            )
            for row in sorted(draw.permutation(rows)[:SHOWN].tolist())
        ]
    return found


def _nearest(own, classes, scores: np.ndarray, draw, queries: int) -> dict[str, list[Row]]:
    """The rows nearest to some texts that a row has, by title."""
    texts = sorted(set(own))
    found = {}
    for text in [texts[i] for i in draw.permutation(len(texts))[:queries]]:
        near = np.argsort(-scores[:, classes.index(text)], kind="stable")[:NEAREST]
        found[f"nearest to “{text}”"] = [
            (int(row), own[row], True if own[row] == text else None) for row in near
        ]
    return found
