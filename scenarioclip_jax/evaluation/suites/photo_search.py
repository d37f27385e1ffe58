"""In-domain search of whole photos by what is in them: names and triplets, without boxes."""

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder
from scenarioclip_jax.evaluation.embed.in_domain import InDomain, Split, read_split
from scenarioclip_jax.evaluation.files import UnsupportedError
from scenarioclip_jax.evaluation.score.ranks import chance_of_hit, first_right, nearest
from scenarioclip_jax.evaluation.score.result import Example, Metric, Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites.registry import Suite

TOP = (1, 5, 10)
SHOWN = 3  # queries of each kind in the report, with as many photos each
PROTOCOL = (
    "On the test split. Each distinct name (object) or triplet (relation) is a query among the embeddings of "
    "the whole photos; a photo that shows it among the k nearest is a hit. The query is embedded as a text of "
    "its own level; “as global”: as a text of whole photos. A tie is wrong; median ranks count from 1."
)


def queries(split: Split, level: str) -> tuple[list[str], list[list[int]]]:
    """The distinct texts of a level, and the rows of the photos that show each."""
    row_of = {photo: row for row, photo in enumerate(split.photos.photo_ids)}
    shown: dict[str, dict[int, None]] = {}
    gallery = split.galleries[level]
    for text, photo in zip(gallery.texts, gallery.photo_ids, strict=True):
        shown.setdefault(text, {})[row_of[photo]] = None
    return list(shown), [list(rows) for rows in shown.values()]


def evaluate(encoder: Encoder, data: InDomain, settings: Settings) -> Result:
    """Scores the suite; raises UnsupportedError if the test split has neither objects nor relations."""
    result = Result({}, {}, "whole photos", PROTOCOL)
    split = read_split(data, "test", result.skips)
    levels = [level for level in ("object", "relation") if level in split.galleries]
    if not levels or len(split.photos.photo_ids) < 2:
        raise UnsupportedError("the test split has no two photos with an object or a relation")
    photos = split.photos.embeddings
    # Pictures of a report are numbered like the photos with an action.
    ids = split.galleries["global"].photo_ids if "global" in split.galleries else []
    told = {id: row for row, id in enumerate(ids)}
    for level in levels:
        texts, right = queries(split, level)
        result.counts |= {f"{level} queries": len(texts), "photos": len(photos)}
        for name, read_as in ((level, level), (f"{level} as global", "global")):
            embedded = encoder.texts(texts, read_as)
            ranks, result.ties[name] = first_right(embedded[None], photos[None], right)
            for k in TOP:
                capped = min(k, len(photos))
                chance = np.mean([chance_of_hit(len(photos), len(r), capped) for r in right])
                hits = (ranks < capped).astype(float)
                result.metrics[f"{name}/R@{k}"] = Metric(hits, chance=float(chance))
            result.metrics[f"{name}/median_rank"] = Metric(ranks + 1.0, statistic="median")
        chosen = np.random.default_rng(settings.seed).permutation(len(texts))[:SHOWN]
        own = encoder.texts([texts[i] for i in chosen], level)
        for i, rows in zip(chosen, nearest(own[None], photos[None], SHOWN), strict=True):
            result.examples[f"{level}: photos nearest to “{texts[i]}”"] = [
                Example(("global", told[id]), id, bool(row in right[i]))
                for row in rows
                if (id := split.photos.photo_ids[row]) in told
            ]
    return result


SUITES = (Suite("photo_search", evaluate),)
