"""Images that a model was trained on are counted, named, and refused where that is wanted."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax.data import photo_digests
from scenarioclip_jax.evaluation import seen
from scenarioclip_jax.evaluation.files import Files, SuiteError, Wanted
from scenarioclip_jax.evaluation.score.result import Skips


def pixels(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8))


def known(*seeds):
    digests = [
        photo_digests.shortened(photo_digests.digest_of_pixels(pixels(each))) for each in seeds
    ]
    return np.unique(np.array(digests, np.uint64))


@pytest.fixture
def files(tmp_path):
    for seed in range(4):
        pixels(seed).save(tmp_path / f"{seed}.png")
    found = Files(tmp_path, (tmp_path,))
    found.locate([Wanted("here", (f"{seed}.png",)) for seed in range(3)], Skips())
    return found


def test_images_of_files_are_counted_and_named(files, tmp_path):
    # The fourth lies there, but isn't scored.
    found = seen.seen_images(known(1, 3, 7), files)
    assert found == {"count": 1, "of": 3, "such_as": [str(tmp_path / "1.png")]}
    (note,) = seen.told(found)
    assert note.startswith("1 of the 3 images were in the model's training, such as ")
    with pytest.raises(SuiteError, match=r"1 of the 3 images.*seen_images=mark"):
        seen.refuse(found)


def test_none_seen_is_no_note(files):
    found = seen.seen_images(known(7), files)
    assert found == {"count": 0, "of": 3, "such_as": []}
    assert seen.told(found) == []
    seen.refuse(found)


def test_what_is_not_known_is_not_zero(files):
    assert seen.seen_images(None, files) is None
    unknown = SimpleNamespace(photos=lambda: None)
    assert seen.seen_images(known(1), unknown) is None
    seen.refuse(None)
    assert seen.told(None) == []


def test_of_a_data_set_the_test_split_counts():
    data = SimpleNamespace(photos=lambda: known(1, 2, 3))
    assert seen.seen_images(known(2, 9), data) == {"count": 1, "of": 3, "such_as": []}
