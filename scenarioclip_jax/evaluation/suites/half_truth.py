"""In-domain half-truths: a true text must score higher than itself with something false added.

A text that says more that is wrong often scores higher than the true one alone, since it names more of what can
be seen. Each unit that is added is false of the picture, and everything else stays. A model that prefers short
texts would do well, so what is false is also compared with what is true.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.evaluation.embed.encoder import Encoder
from scenarioclip_jax.evaluation.embed.in_domain import InDomain, Split, read_split
from scenarioclip_jax.evaluation.files import SuiteError, UnsupportedError
from scenarioclip_jax.evaluation.score.result import Example, Metric, Result
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites.registry import Suite
from scenarioclip_jax.words.names import read_name
from scenarioclip_jax.words.negatives import paraphrases
from scenarioclip_jax.words.nouns import absent

PROTOCOL = (
    "On the test split. A picture's own text (relation: its triplet; global: the action) must score strictly "
    "higher than the same text with “ and ” and something false added. object: a name of the data set that "
    "none of the photo's objects has, drawn by a digest of the photo's id; relation: the first negative of the "
    "relation (global: of any of the photo's relations) that none of the photo's relations says, in the same "
    "or in other words. global/truth: the action with that relation added must "
    "score higher than with that negative added, so that it isn't enough to prefer short texts. Texts that "
    "would be cut are left out. Chance is 50%."
)
JOINT = " and "


def pairs(
    split: Split, names: Sequence[str]
) -> dict[str, tuple[str, list[int], list[str], list[str]]]:
    """The comparisons by metric: level, rows of its gallery, texts that should win, half-true texts.

    Args:
      split: The split.
      names: All object names of the data set.
    """
    named: dict[str, set[str]] = {}
    if "object" in split.galleries:
        gallery = split.galleries["object"]
        for photo, name in zip(gallery.photo_ids, gallery.texts, strict=True):
            named.setdefault(photo, set()).add(name)
    if "relation" in split.galleries:  # their ends needn't be among the objects
        ids = split.galleries["relation"].photo_ids
        for photo, (subject, _, object_) in zip(ids, split.triplets, strict=True):
            named.setdefault(photo, set()).update((subject, object_))
    found = {}
    told: dict[str, tuple[str, str]] = {}  # by photo: a relation's text, and what is false of it
    if "relation" in split.galleries:
        gallery = split.galleries["relation"]
        own = [relation_text(triplet) for triplet in split.triplets]
        false = _false(split)
        found["relation/relation"] = _with(own, false, "relation")
        for row, photo in enumerate(gallery.photo_ids):
            if row in false:
                told.setdefault(photo, (own[row], false[row]))
        absent = {
            row: name
            for row, photo in enumerate(gallery.photo_ids)
            if (name := _absent(photo, names, named.get(photo, set())))
        }
        found["relation/object"] = _with(own, absent, "relation")
    if "global" in split.galleries:
        gallery = split.galleries["global"]
        some = {row: told[p] for row, p in enumerate(gallery.photo_ids) if p in told}
        half = _with(gallery.texts, {row: false for row, (_, false) in some.items()}, "global")
        whole = _with(gallery.texts, {row: true for row, (true, _) in some.items()}, "global")
        found["global/relation"] = half
        found["global/truth"] = "global", half[1], whole[3], half[3]
        absent = {
            row: name
            for row, photo in enumerate(gallery.photo_ids)
            if (name := _absent(photo, names, named.get(photo, set())))
        }
        found["global/object"] = _with(gallery.texts, absent, "global")
    return {name: each for name, each in found.items() if each[1]}


def _false(split: Split) -> dict[int, str]:
    """By row of the relations' gallery: the first negative that no relation of the photo says."""
    photos = split.galleries["relation"].photo_ids
    true: dict[str, set[str]] = {}
    for photo, triplet, others in zip(photos, split.triplets, split.paraphrases, strict=True):
        said = map(relation_text, paraphrases(triplet))
        true.setdefault(photo, set()).update((relation_text(triplet), *others, *said))
    false: dict[int, str] = {}
    for row, (photo, negatives) in enumerate(zip(photos, split.negatives, strict=True)):
        usable = (text for text in map(relation_text, negatives) if text not in true[photo])
        if (text := next(usable, None)) is not None:
            false[row] = text
    return false


def _with(own: Sequence[str], false: Mapping[int, str], level: str):
    rows = sorted(false)
    return level, rows, [own[row] for row in rows], [own[r] + JOINT + false[r] for r in rows]


def _absent(photo: str, names: Sequence[str], here: set[str]) -> str | None:
    """A name of nothing in the photo, drawn by its id; None if there is none, or nothing is known of the photo.

    What a reader may call by the name counts, too: a photo of a man shows a person.
    """
    nouns = [read_name(name).noun for name in here]
    start = int.from_bytes(hashlib.sha256(photo.encode()).digest()[:8], "big")
    for i in range(len(names) if here else 0):
        name = names[(start + i) % len(names)]
        if name not in here and absent(read_name(name).noun, nouns):
            return name
    return None


def evaluate(encoder: Encoder, data: InDomain, settings: Settings) -> Result:
    """Scores the suite; raises UnsupportedError if the test split has nothing to add."""
    result = Result({}, {}, "each level its own", PROTOCOL)
    split = read_split(data, "test", result.skips)
    try:
        names = data.classes("object")
    except SuiteError:
        names = []  # one name only
    found = pairs(split, names)
    if not found:
        raise UnsupportedError("the test split has neither negatives nor objects to add to a text")
    for metric, (level, rows, true, half) in found.items():
        kept = [i for i in range(len(half)) if all(encoder.fits(t[i], level) for t in (true, half))]
        for i in sorted(set(range(len(half))) - set(kept)):
            longest = max(true[i], half[i], key=len)
            result.skips.add("longer than the texts of its level", longest)
        if kept:
            chosen = ([each[i] for i in kept] for each in (rows, true, half))
            _score(encoder.texts, result, split, metric, level, *chosen)
    if not result.metrics:
        raise UnsupportedError("with something added, every text is longer than the model reads")
    return result


def _score(
    texts_of: Callable[[list[str], str], np.ndarray],
    result: Result,
    split: Split,
    metric: str,
    level: str,
    rows: Sequence[int],
    true: Sequence[str],
    half: Sequence[str],
) -> None:
    gallery = split.galleries[level]
    unique = list(dict.fromkeys([*true, *half]))
    embedded = dict(zip(unique, normalize(texts_of(unique, level)), strict=True))
    pictures = normalize(gallery.embeddings)
    margin = np.array(
        [
            pictures[row] @ (embedded[a] - embedded[b])
            for row, a, b in zip(rows, true, half, strict=True)
        ]
    )
    photos = np.unique(np.array([gallery.photo_ids[row] for row in rows]), return_inverse=True)[1]
    result.metrics[metric] = Metric((margin > 0).astype(float), clusters=photos, chance=0.5)
    result.counts[metric] = len(rows)
    for i in np.argsort(margin)[:2]:
        if margin[i] <= 0:
            caption = f"{half[i]}, rather than {true[i]}"
            result.examples.setdefault(f"{metric}: failures", []).append(
                Example((level, rows[i]), caption, False)
            )


SUITES = (Suite("half_truth", evaluate),)
