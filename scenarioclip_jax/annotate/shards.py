"""Divides photos among processes by their ids, so that each knows its own without asking."""

import hashlib
import re
from typing import NamedTuple


class Shard(NamedTuple):
    """A share of the photos: number `index` of `count`, counted from 0."""

    index: int = 0
    count: int = 1

    def has(self, id: str) -> bool:
        """Whether a photo belongs to this share."""
        if self.count == 1:
            return True
        first = hashlib.blake2b(id.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(first, "big") % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


ALL = Shard()  # all photos


def read_shard(text: str) -> Shard:
    """Reads "i/n"; raises ValueError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match or int(match[1]) >= int(match[2]):
        raise ValueError(f"{text!r} isn't a share such as 0/4, counted from 0")
    return Shard(int(match[1]), int(match[2]))
