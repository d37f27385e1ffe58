"""Further texts of a scene: what is false of its relations, what else is true of them, and its captions.

A relation's negatives and paraphrases come from the annotations; where these have too few, more are made from
the scene's graph and boxes (`words`). A whole scene's further text is one of its captions, or a sentence of it,
other than what it reads anyway.
"""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.batch import TRUE
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.data.stored.scene import NEGATIVE_KINDS, Scene, Triplet, negative_kind
from scenarioclip_jax.words import negatives as words

_SALT = 0xF07E  # tells the draws of further texts from other draws with the scene's seed
# A sentence ends at a mark that a space and a capital letter follow, but not after an initial or "Mr.".
_SENTENCE_END = re.compile(
    r"(?<![A-Z])(?<!\b[A-Z][a-z])(?<!\b[A-Z][a-z][a-z])[.!?]\s+(?=[\"'“]?[A-Z])"
)


class FurtherText(NamedTuple):
    """A text about one picture of a scene, besides that picture's own text."""

    text: str
    kind: int  # see `data.batch.Further`


def of_relation(
    scene: Scene, index: int, settings: DataSettings, seed: int = 0
) -> list[FurtherText]:
    """Returns a relation's paraphrases and negatives, each text once.

    A negative with the text of something that the annotations call true of the same pair is left out; so is one
    that says that in other words.

    Args:
      scene: The scene.
      index: Index of the relation.
      settings: Say up to how many are made (`make_negatives`, `make_paraphrases`).
      seed: Seed of what is made.
    """
    relation = scene.relations[index]
    own = relation_text(relation.triplet)
    negatives, paraphrases = list(relation.negatives), list(relation.paraphrases)
    if settings.make_paraphrases > len(paraphrases):
        made = words.paraphrases(relation.triplet, settings.make_paraphrases)
        paraphrases = list(dict.fromkeys([*paraphrases, *map(relation_text, made)]))
        paraphrases = paraphrases[: settings.make_paraphrases]
    if settings.make_negatives > len(negatives):
        negatives += made_negatives(scene, index, settings.make_negatives - len(negatives), seed)
    true, pair = {own, *paraphrases}, pair_of(relation.triplet)
    for other in scene.relations:
        if pair_of(other.triplet) == pair:
            true |= {relation_text(other.triplet), *other.paraphrases, *said(other.triplet)}
    found = {text: TRUE for text in paraphrases if text and text != own}
    for negative in negatives:
        text = relation_text(negative)
        if text not in true:
            kind = 1 + NEGATIVE_KINDS.index(negative_kind(relation.triplet, negative))
            found.setdefault(text, kind)
    return [FurtherText(text, kind) for text, kind in found.items()]


@functools.lru_cache(maxsize=1 << 14)
def said(triplet: Triplet) -> frozenset[str]:
    """Other texts that are true wherever a triplet is."""
    return frozenset(map(relation_text, words.paraphrases(triplet)))


def made_negatives(scene: Scene, index: int, count: int, seed: int) -> list[Triplet]:
    """Makes up to `count` negatives that a relation doesn't have yet, from the scene's graph and boxes."""
    relation = scene.relations[index]
    names, boxes = list(scene.object_names), [tuple(box) for box in scene.object_boxes.tolist()]
    graph = []
    for each in scene.relations:
        ends = list(each.pair or (-1, -1))
        places = zip(each.triplet[::2], map(tuple, each.boxes.tolist()), strict=True)
        for end, what in enumerate(places):
            if ends[end] < 0:  # it isn't known which object it is
                known = list(zip(names, boxes, strict=True))
                ends[end] = known.index(what) if what in known else len(names)
                if what not in known:
                    names.append(what[0])
                    boxes.append(what[1])
        graph.append((ends[0], each.triplet[1], ends[1]))
    kept = set(relation.negatives)
    found = words.negatives(
        graph[index],
        names,
        boxes,
        graph,
        (scene.width, scene.height),
        id=scene.id,
        position=index,
        count=count + len(kept),
        seed=seed,
    )
    return [each.triplet for each in found if each.triplet not in kept][:count]


def pair_of(triplet: Triplet) -> tuple[str, str]:
    """The names of a relation's ends, in alphabetical order."""
    first, second = sorted((triplet[0], triplet[2]))
    return first, second


def of_scene(
    scene: Scene, own: str, settings: DataSettings, draw: np.random.Generator
) -> list[FurtherText]:
    """Returns the caption that a whole scene is compared with besides its own text; none if there is none."""
    found = captions(scene, own, settings)
    return [found[int(draw.integers(len(found)))]] if found else []


def captions(scene: Scene, own: str, settings: DataSettings) -> list[FurtherText]:
    """Returns the captions, or their sentences, of which one is a further text of a whole scene."""
    texts = (
        part
        for caption in scene.captions
        for part in (sentences(caption) if settings.caption_sentences else [caption])
    )
    return [FurtherText(text, TRUE) for text in texts if text and text != own]


def sentences(text: str) -> list[str]:
    """Cuts a text into sentences: "A dog. It runs!" is "A dog." and "It runs!"."""
    cuts = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    return [text[a:b].strip() for a, b in itertools.pairwise(cuts) if text[a:b].strip()]


def in_order(
    scene: Scene,
    own: str,
    level: str,
    chosen: Sequence[int] | np.ndarray,
    seed: int,
    settings: DataSettings,
) -> Iterator[tuple[float, int, FurtherText]]:
    """Yields a scene's further texts with the order in which they find room: (priority, index, text).

    The smallest priorities come first: each relation's first text before any relation's second one. Which text
    is a relation's first, and which relation goes first, is drawn by the scene's seed.

    Args:
      own: The text of the scene itself.
      level: Level of the pictures.
      chosen: Indices of the scene's relations that are in the batch; not used for the scene itself.
    """
    if level == "global":
        draw = np.random.default_rng([seed, _SALT])
        yield from ((draw.random(), 0, each) for each in of_scene(scene, own, settings, draw))
        return
    for index in sorted(chosen):
        found = of_relation(scene, int(index), settings, seed)
        of_index = np.random.default_rng([seed, _SALT, index])
        order, turn = of_index.permutation(len(found)), of_index.random()
        for place, number in enumerate(order.tolist()):
            yield place + turn, int(index), found[number]


class Wanted(NamedTuple):
    """The further texts of a group at a level, in the order in which they find room."""

    owner: list[int]  # index of the scene
    index: list[int]  # index of the relation in its scene; 0 for the scene itself
    texts: list[FurtherText]


def wanted(
    level: str,
    scenes: Sequence[tuple[Scene, str, int]],
    chosen: Mapping[int, Sequence[int] | np.ndarray],
    settings: DataSettings,
) -> Wanted:
    """Collects the further texts of a group.

    Args:
      level: Level of the pictures.
      scenes: The group's scenes, with their own texts and their seeds.
      chosen: By scene that is in the batch: indices of its relations that are.
      settings: Settings of the data.
    """
    found = []
    for owner, indices in chosen.items():
        scene, own, seed = scenes[owner]
        each = in_order(scene, own, level, indices, seed, settings)
        found += [(priority, owner, index, text) for priority, index, text in each]
    found.sort(key=lambda each: each[:3])
    return Wanted([f[1] for f in found], [f[2] for f in found], [f[3] for f in found])
