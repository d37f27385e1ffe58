"""Assigns photos to splits: a pure function of a photo's id, or of its pixels if several records share them.

No random state is involved, so a photo's split never changes when others are added or removed, or when a job
is run again. So a probe is never tested on what it was trained on.
"""

import hashlib
import math
from collections.abc import Sequence

SPLITS = ("train", "validation", "test")
FRACTIONS = (0.7, 0.1, 0.2)
SALT = "action_genome"


def check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """Returns the fractions of train, validation and test as a tuple; raises ValueError if they are invalid."""
    fractions = tuple(float(fraction) for fraction in fractions)
    if len(fractions) != len(SPLITS) or not all(fraction >= 0 for fraction in fractions):
        raise ValueError(f"fractions must be three numbers >= 0, for {SPLITS}; got {fractions}")
    if not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise ValueError(f"fractions must sum to 1; {fractions} sum to {sum(fractions):g}")
    train, validation, test = fractions
    return train, validation, test


def split_of(image_id: str, fractions: Sequence[float] = FRACTIONS, salt: str = SALT) -> str:
    """Returns "train", "validation" or "test".

    Args:
      image_id: The id of the photo in the annotations; for photos that several records share, a digest of the
        pixels (`data.build.shared_photos`).
      fractions: Shares of train, validation and test; they sum to 1.
      salt: Salt of the hash; another salt gives another, independent split.
    """
    train, validation, test = check_fractions(fractions)
    digest = hashlib.sha256(f"{salt}:{image_id}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < train:
        return "train"
    # With no test share, rounding must not send anything there.
    return "validation" if position < train + validation or test == 0 else "test"
