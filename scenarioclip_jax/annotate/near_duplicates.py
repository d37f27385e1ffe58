"""Finds photos that show nearly the same, by perceptual hashes: they belong into one split."""

from collections import defaultdict
from collections.abc import Mapping

import imagehash
from PIL import Image

SIDE = 16  # of the hash, in bits: 256 bits tell more pictures apart than the usual 64
_BITS = SIDE * SIDE


def hash_of(picture: Image.Image) -> str:
    """The perceptual hash of a picture (of its low frequencies), as hexadecimal text."""
    return str(imagehash.phash(picture, SIDE))


def groups(hashes: Mapping[str, str], distance: int) -> dict[str, str]:
    """Photos that are near-duplicates of others, each with the first id of its group.

    Photos whose hashes differ in at most `distance` bits are of one group, and so are all linked by such
    pairs. Two such hashes agree in at least one of `distance` + 1 pieces, so only those are compared.

    Args:
      hashes: Hashes by id.
      distance: Most bits that differ, of 256.
    """
    parent = {id: id for id in hashes}

    def first(id: str) -> str:
        while parent[id] != id:
            parent[id] = parent[parent[id]]
            id = parent[id]
        return id

    values = {id: int(text, 16) for id, text in hashes.items()}
    same: dict[int, str] = {}  # one photo stands for all with the very same hash
    for id in sorted(values):
        parent[id] = first(same.setdefault(values[id], id))
    for piece in range(distance + 1):
        low, high = (_BITS * each // (distance + 1) for each in (piece, piece + 1))
        buckets: dict[int, list[int]] = defaultdict(list)
        for value in same:
            buckets[(value >> low) & ((1 << (high - low)) - 1)].append(value)
        for members in buckets.values():
            # Of those that are linked already, one match is enough: frames of a still camera fill a bucket.
            clusters: list[list[int]] = []
            for a in members:
                apart, mine = [], [a]
                for cluster in clusters:
                    one, other = sorted((first(same[a]), first(same[cluster[0]])))
                    if one == other or any((a ^ b).bit_count() <= distance for b in cluster):
                        parent[other] = one
                        mine, less = sorted((mine, cluster), key=len, reverse=True)
                        mine.extend(less)
                    else:
                        apart.append(cluster)
                clusters = [*apart, mine]
    found: dict[str, list[str]] = defaultdict(list)
    for id in sorted(hashes):
        found[first(id)].append(id)
    return {id: ids[0] for ids in found.values() if len(ids) > 1 for id in ids}
