"""Digests by which photos are recognized, and where builds and evaluations keep and use them."""

import io

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax.data import photo_digests
from scenarioclip_jax.data.photo_digests import digest_of_pixels, shortened
from scenarioclip_jax.data.stored.shards import dataset_dir, open_split


def picture(seed=0, size=(12, 9)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    return Image.fromarray(pixels)


def test_a_copy_in_another_format_is_the_same_photo():
    own = picture()
    for kind in ("PNG", "BMP", "TIFF"):
        stream = io.BytesIO()
        own.save(stream, kind)
        assert digest_of_pixels(Image.open(stream)) == digest_of_pixels(own)
    assert digest_of_pixels(picture(1)) != digest_of_pixels(own)
    pixels = np.asarray(own)
    assert digest_of_pixels(Image.fromarray(pixels.reshape(12, 9, 3))) != digest_of_pixels(own)


def test_what_is_kept_is_sorted_and_unique(tmp_path):
    numbers = [shortened(digest_of_pixels(picture(seed))) for seed in (3, 1, 3, 2)]
    photo_digests.write(tmp_path / "photos.npy", iter(numbers))
    found = photo_digests.read(tmp_path / "photos.npy")
    assert found.tolist() == sorted(set(numbers))
    assert max(found) > 2**53, "digests have passed through a float"
    assert photo_digests.seen(found, found[1:]).tolist() == found[1:].tolist()


@pytest.mark.parametrize("content", [None, b"", b"no array", "floats"])
def test_without_a_file_that_can_be_read_nothing_is_known(tmp_path, content):
    path = tmp_path / "photos.npy"
    if content == "floats":
        np.save(path, np.zeros(3))
    elif content is not None:
        path.write_bytes(content)
    assert photo_digests.read(path) is None


def test_a_build_keeps_those_of_each_split(small_data):
    for split in ("train", "validation", "test"):
        scenes = open_split(small_data, split)
        found = photo_digests.read(dataset_dir(small_data) / photo_digests.of_split(split))
        photos = [Image.open(io.BytesIO(scenes[i].photo)) for i in range(len(scenes))]
        assert found.tolist() == sorted({shortened(digest_of_pixels(each)) for each in photos})
