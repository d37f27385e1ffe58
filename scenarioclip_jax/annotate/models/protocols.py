"""What a stage asks of a model.

Each method takes a stream of requests and gives a stream of answers, in any order, so that a model can batch
them or have several on their way. One request has one answer or one failure; a model that can't go on at all,
for want of memory or of its server, raises `ModelError`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from scenarioclip_jax.annotate.models.detections import Box, Detection
from scenarioclip_jax.annotate.results import Caption, Cost, Failure, Mask, Photo, Verdict
from scenarioclip_jax.annotate.settings import VerifySettings
from scenarioclip_jax.data.stored.scene import Triplet
from scenarioclip_jax.errors import ReadableError


class ModelError(ReadableError):
    """A model can't be loaded, or can't go on. The message says what to do."""


class CaptionAnswer(NamedTuple):
    id: str
    result: Caption | Failure
    cost: Cost = Cost()


class DetectAnswer(NamedTuple):
    id: str
    result: list[Detection] | Failure


class SegmentAnswer(NamedTuple):
    id: str
    result: list[Mask] | Failure


class VerifyAnswer(NamedTuple):
    id: str
    result: list[Verdict] | Failure
    cost: Cost = Cost()


class Captioner(Protocol):
    def caption(self, photos: Iterable[Photo]) -> Iterator[CaptionAnswer]:
        """Says what is in photos."""
        ...


class Detector(Protocol):
    def detect(self, requests: Iterable[tuple[Photo, Sequence[str]]]) -> Iterator[DetectAnswer]:
        """Finds objects by their names, each of which occurs once in a request."""
        ...


class Segmenter(Protocol):
    def segment(self, requests: Iterable[tuple[Photo, Sequence[Box]]]) -> Iterator[SegmentAnswer]:
        """Finds the mask of each box, in the order of the boxes."""
        ...


class Verifier(Protocol):
    def verify(
        self, requests: Iterable[tuple[Photo, Sequence[Triplet]]], settings: VerifySettings
    ) -> Iterator[VerifyAnswer]:
        """Says of each text whether it is true of the photo, in the order of the texts."""
        ...
