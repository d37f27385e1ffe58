"""Photos that show nearly the same are found, also among many; others aren't."""

import random
import time

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from scenarioclip_jax.annotate.near_duplicates import groups, hash_of
from scenarioclip_jax.data.embedded.scenes import draw_scene, make_scene


def changed(value: int, bits: int, draw: random.Random) -> str:
    for bit in draw.sample(range(256), bits):
        value ^= 1 << bit
    return f"{value:064x}"


@pytest.mark.parametrize("distance", [0, 3, 10])
def test_groups_are_those_of_all_pairs(distance):
    draw = random.Random(0)
    base = [draw.getrandbits(256) for _ in range(40)]
    hashes = {}
    for number in range(200):
        bits = draw.choice([0, 1, distance, distance + 1, distance + 5])
        hashes[f"{number:03}"] = changed(draw.choice(base), bits, draw)
    values = {id: int(text, 16) for id, text in hashes.items()}
    # By definition: linked by pairs, found by comparing all of them until nothing changes.
    group = {id: id for id in hashes}
    changes = True
    while changes:
        changes = False
        for a in hashes:
            for b in hashes:
                if (values[a] ^ values[b]).bit_count() <= distance and group[b] != group[a]:
                    group[a] = group[b] = min(group[a], group[b])
                    changes = True
    alone = [id for id in hashes if list(group.values()).count(group[id]) == 1]
    assert groups(hashes, distance) == {id: g for id, g in group.items() if id not in alone}


def test_a_photo_saved_again_smaller_and_brighter_is_the_same_and_other_photos_are_not(tmp_path):
    scenes = [draw_scene(make_scene(0, i, 192), 0, 192) for i in range(30)]
    again = []
    for number, picture in enumerate(scenes):
        file = tmp_path / f"{number}.jpg"
        small = picture.resize((128, 128), Image.Resampling.LANCZOS)
        ImageEnhance.Brightness(small).enhance(1.1).save(file, quality=70)
        again.append(Image.open(file))
    hashes = {f"{i:02} a": hash_of(picture) for i, picture in enumerate(scenes)}
    hashes |= {f"{i:02} b": hash_of(picture) for i, picture in enumerate(again)}
    found = groups(hashes, 10)
    wrong = {id: first for id, first in found.items() if id[:2] != first[:2]}
    assert not wrong, "different scenes are one group"
    assert len(found) >= 54, f"only {len(found)} of 60 have their twin"


def test_many_frames_of_a_still_camera_take_no_longer_than_other_photos():
    draw = random.Random(0)
    base = draw.getrandbits(256)
    hashes = {f"{number:05}": changed(base, draw.randrange(4), draw) for number in range(20_000)}
    began = time.process_time()
    found = groups(hashes, 10)
    took = time.process_time() - began
    assert set(found.values()) == {"00000"}
    assert len(found) == 20_000
    assert took < 20, f"{took:.0f} s of computing: all pairs would be 200 million"


def test_plain_pictures_are_no_error():
    plain = Image.fromarray(np.full((40, 60, 3), 128, np.uint8))
    assert len(hash_of(plain)) == 64
