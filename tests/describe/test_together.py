"""Photos that are described together have the scene graphs that each has alone, for fewer runs of the model."""

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax.describe.texts import Texts
from scenarioclip_jax.describe.together import Wanted, describe_together
from scenarioclip_jax.describe.word_lists import Words, WordsError
from tests.describe import test_describe
from tests.interop.test_describe_in_pytorch import assert_alike

tiny = test_describe.tiny
WORDS = Words(("riding", "resting"), ("red circle", "blue square"), ("above", "left of"))


def photo(seed, size):
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    return Image.fromarray(noise)


@pytest.mark.slow
def test_each_photo_has_the_graph_that_it_has_alone(tiny, monkeypatch):
    wanted = [
        Wanted(photo(0, (64, 48)), [[1, 1, 30, 30], [20, 9, 50, 47], [5, 5, 60, 40]], WORDS),
        Wanted(photo(1, (40, 64)), [], WORDS),
        Wanted(photo(2, (48, 48)), [[0, 0, 20, 20], [9, 9, 48, 48]], Words((), ("ring",), ("on",))),
        # Of a wide photo, the model sees only the last of these boxes.
        Wanted(photo(3, (300, 60)), [[0, 0, 20, 20], [140, 9, 160, 48]], WORDS),
    ]
    alone = [tiny.describe(each.picture, each.boxes, words=each.words) for each in wanted]
    asked = []

    def note(name):
        encode = getattr(tiny, name)

        def noted(what, level):
            asked.append((name, level, len(what)))
            return encode(what, level)

        monkeypatch.setattr(tiny, name, noted)

    for name in ("encode_places_of", "encode_image", "encode_text"):
        note(name)
    found = describe_together(tiny, wanted, Texts(tiny))
    for one, other in zip(found, alone, strict=True):
        assert_alike(one.to_dict(), other.to_dict())
    assert [each[:2] for each in asked] == [
        ("encode_places_of", "object"),
        ("encode_text", "object"),
        ("encode_image", "global"),
        ("encode_text", "global"),
        ("encode_places_of", "relation"),
        ("encode_text", "relation"),
    ]
    photos = {level: count for name, level, count in asked if name != "encode_text"}
    assert photos == {"object": 3, "global": 3, "relation": 2}


def test_what_one_of_them_lacks_is_told(tiny):
    with pytest.raises(WordsError, match="give words for objects"):
        describe_together(
            tiny,
            [
                Wanted(photo(0, (64, 48)), [], WORDS),
                Wanted(photo(0, (64, 48)), [[1, 1, 9, 9]], Words(("riding",))),
            ],
            Texts(tiny),
        )


def test_more_parts_than_a_batch_holds(tiny):
    """Those of one photo go on in the next batch."""
    boxes = [np.float32([[[n, n, n + 20, n + 20]] for n in range(count)]) for count in (20, 17)]
    photos = [photo(0, (64, 64)), photo(1, (48, 96))]
    found = tiny.encode_places_of(list(zip(photos, boxes, strict=True)), "object")
    for one, picture, places in zip(found, photos, boxes, strict=True):
        wanted = tiny.encode_objects(picture, places[:, 0])
        np.testing.assert_allclose(one, wanted, atol=1e-5)
