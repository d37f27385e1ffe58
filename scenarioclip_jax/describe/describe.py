"""Finds the actions, the names of objects and the relations of a photo."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from scenarioclip_jax.data.damage import open_checked
from scenarioclip_jax.describe.asking import Encoder
from scenarioclip_jax.describe.boxes import Detector
from scenarioclip_jax.describe.graphs import make_graphs
from scenarioclip_jax.describe.scene_graph import SceneGraph
from scenarioclip_jax.describe.texts import Texts
from scenarioclip_jax.describe.vocabulary import Source, read_words


def describe(
    model: Encoder,
    photo: Any,
    boxes: Any = (),
    *,
    words: Source,
    names: Sequence[str] | None = None,
    detector: Detector | None = None,
    actions: int = 5,
    relations: int = 20,
    one_per_pair: bool = True,
    most_pairs: int = 100,
    texts: Texts | None = None,
) -> SceneGraph:
    """Finds the actions of a photo, the names of objects in it and their relations.

    An action's or a name's score is its share in the softmax over all words of its kind, with the scale
    that the model was trained with. For two objects, all predicates in both directions compete, and a
    relation's score is its share among them times the scores of both names. `describe.calibrate` fits a
    temperature for each level to a validation split.

    Args:
      model: The model. `inference.Model.describe` is this function.
      photo: The photo, as for `inference.Model.encode_image`.
      boxes: The objects' boxes, [N, 4]: x0, y0, x1, y1 in pixels of the upright photo. An object outside of
        the part of the photo that the model sees gets no name and no relation.
      words: The texts to choose from: a data set's folder, whose classes are used; a JSON file or a mapping
        with lists of `actions`, `objects` and `predicates`; see `describe.vocabulary.read_words`.
      names: The objects' names, if they are known.
      detector: What finds boxes if none are given, see `describe.detector`: things of the words for objects.
      actions: Most actions.
      relations: Most relations.
      one_per_pair: Whether two objects have only their best relation.
      most_pairs: Most pairs that are asked about; near ones with sure names come first.
      texts: The model's `describe.texts.Texts`, if embedded texts should be kept for further calls.

    Raises:
      WordsError: There are no such words, or none for what is asked.
      ValueError: A box is empty or lies outside of the photo, or names aren't as many as boxes.
      OSError: The photo can't be read or decoded.
    """
    return next(
        describe_many(
            model,
            [photo],
            [boxes],
            words=words,
            names=None if names is None else [names],
            detector=detector,
            actions=actions,
            relations=relations,
            one_per_pair=one_per_pair,
            most_pairs=most_pairs,
            texts=texts,
        )
    )


def describe_many(
    model: Encoder,
    photos: Iterable[Any],
    boxes: Iterable[Any] | None = None,
    *,
    words: Source,
    names: Iterable[Sequence[str]] | None = None,
    detector: Detector | None = None,
    actions: int = 5,
    relations: int = 20,
    one_per_pair: bool = True,
    most_pairs: int = 100,
    texts: Texts | None = None,
) -> Iterator[SceneGraph]:
    """Yields the scene graph of each photo, as `describe` finds it; each text is embedded once for all.

    Args:
      model: The model.
      photos: The photos.
      boxes: The boxes of each photo; None: all come from the detector, or there are none.
      names: The names of each photo's boxes, if they are known.
      words, detector, actions, relations, one_per_pair, most_pairs, texts: As for `describe`.

    Raises:
      WordsError, OSError: As `describe`.
      ValueError: As `describe`, or boxes or names are given for fewer photos.
    """
    return make_graphs(
        model,
        (open_checked(photo).picture for photo in photos),
        boxes,
        words=lambda known: read_words(words, known),
        names=names,
        detector=detector,
        actions=actions,
        relations=relations,
        one_per_pair=one_per_pair,
        most_pairs=most_pairs,
        texts=texts,
    )
