"""What models say of a photo. Boxes and masks are in pixels of the upright photo."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from scenarioclip_jax.data.stored.scene import Triplet

# What a language model says of a statement; "unanswered": it left it out, or said something else.
Verdict = Literal["true", "false", "unsure", "unanswered"]


@dataclass(frozen=True)
class Photo:
    """A photo to annotate.

    Attributes:
      id: The photo's id.
      size: Width and height of the upright photo, in pixels.
      open: Decodes it: RGB, upright.
    """

    id: str
    size: tuple[int, int]
    open: Callable[[], Image.Image]


@dataclass(frozen=True)
class Caption:
    """What a language model says of a photo.

    Attributes:
      action: What happens, in a few words.
      objects: Names of the main objects, each once.
      relations: Triplets of names in `objects` and predicates.
      caption: One or two sentences.
    """

    action: str
    objects: tuple[str, ...]
    relations: tuple[Triplet, ...]
    caption: str


@dataclass(frozen=True)
class Mask:
    """The mask of a box, as run lengths of COCO.

    Attributes:
      size: Height and width of the photo, in pixels.
      counts: Compressed run lengths.
      score: What the segmenter expects of its intersection over union, from 0 to 1.
    """

    size: tuple[int, int]
    counts: str
    score: float


@dataclass(frozen=True)
class Failure:
    """Why there is no result.

    Attributes:
      kind: A word that failures are counted by, such as `not_json`.
      detail: What happened, for people, with the start of the answer where there was one.
    """

    kind: str
    detail: str


@dataclass(frozen=True)
class Cost:
    """What a result took.

    Attributes:
      read: Tokens of the prompt and the photo.
      written: Tokens of the answer.
    """

    read: int = 0
    written: int = 0
