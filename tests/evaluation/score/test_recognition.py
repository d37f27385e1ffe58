"""Recognition on several data sets together, against that on one that holds all their pictures."""

import numpy as np

from scenarioclip_jax.evaluation.embed.embedder import Gallery
from scenarioclip_jax.evaluation.score.recognition import CLASS_LISTS, Recognition, pool
from scenarioclip_jax.evaluation.score.zero_shot import zero_shot

TEXTS = {kind: [f"{kind} {n}" for n in range(12)] for kind in CLASS_LISTS.values()}


def embedding(text: str) -> np.ndarray:
    return np.random.default_rng(list(text.encode())).standard_normal(8).astype(np.float32)


def texts_of(texts, level):
    return np.stack([embedding(text) for text in texts])


def recognition(classes, pictures) -> Recognition:
    """Scores pictures, each (photo, action): the level `global` only."""
    draw = np.random.default_rng(len(pictures))
    labels = [label for _, label in pictures]
    near = np.stack([embedding(label) for label in labels])
    near += draw.standard_normal(near.shape).astype(np.float32)
    gallery = Gallery(near, labels, [photo for photo, _ in pictures])
    embedded = texts_of(classes["actions"], "global")
    scores = zero_shot(near, classes["actions"], embedded, labels, gallery.photo_ids)
    return Recognition({"global": scores}, {"global": gallery}, {"global": embedded}, gallery)


def test_together_they_score_as_one_data_set_with_all_classes():
    actions = TEXTS["actions"]
    own = {"a": TEXTS | {"actions": actions[:8]}, "b": TEXTS | {"actions": actions[5:11]}}
    # The same ids are other photos in each: as one photo, a label of either would count for both.
    pictures = {
        name: [(f"{n // 2}", each["actions"][n % 6]) for n in range(20)]
        for name, each in own.items()
    }
    found = {name: recognition(own[name], pictures[name]) for name in own}
    together = pool(found, own, TEXTS, texts_of)
    near = np.concatenate([each.whole.embeddings for each in found.values()])
    labels = [label for each in pictures.values() for _, label in each]
    photos = [f"{name} {photo}" for name, each in pictures.items() for photo, _ in each]
    wanted = zero_shot(near, actions, texts_of(actions, "global"), labels, photos)
    assert together.scores == {"global": wanted}
    assert together.scores["global"]["classes"] == 12
    np.testing.assert_array_equal(together.class_embeddings["global"], texts_of(actions, "global"))
    assert together.whole.texts == labels
    assert wanted["any_label_top1"] > wanted["top1"]


def test_levels_without_pictures_in_any_are_left_out():
    own = {"a": TEXTS, "b": TEXTS}
    one = recognition(TEXTS, [("0", TEXTS["actions"][0]), ("1", TEXTS["actions"][1])])
    empty = Recognition({}, {}, {}, Gallery(np.zeros((0, 8), np.float32), [], []))
    together = pool({"a": one, "b": empty}, own, TEXTS, texts_of)
    assert together.scores == one.scores
    assert not pool({"a": empty, "b": empty}, own, TEXTS, texts_of).scores
