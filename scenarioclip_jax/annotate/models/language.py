"""What a vision-language model is asked: to say what a photo shows, and to judge statements about it."""

import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from scenarioclip_jax.annotate.models.answers import parse
from scenarioclip_jax.annotate.models.prompts import (
    prompt,
    schema,
    verdict_schema,
    verify_prompt,
    with_statements,
)
from scenarioclip_jax.annotate.models.protocols import CaptionAnswer, VerifyAnswer
from scenarioclip_jax.annotate.models.verdicts import parse_verdicts
from scenarioclip_jax.annotate.results import Cost, Failure, Photo, Verdict
from scenarioclip_jax.annotate.settings import CaptionSettings, VerifySettings
from scenarioclip_jax.data.stored.scene import Triplet


class Question(NamedTuple):
    """A question about a photo.

    Attributes:
      photo: The photo.
      prompt: The text that goes with it.
      schema: JSON schema of the answer.
      read: Reads an answer's text, and whether it was cut off, to a result or a failure.
      first: Position of the first statement that it asks about.
    """

    photo: Photo
    prompt: str
    schema: dict[str, Any]
    read: Callable[[str, bool], Any]
    first: int = 0


class Reply(NamedTuple):
    """What became of a question: its result or a failure, and what it took."""

    question: Question
    result: Any
    cost: Cost = Cost()


@dataclass
class _Judged:
    """What is known of a photo's statements so far."""

    verdicts: list[Verdict]
    waiting: int  # questions without a reply
    failure: Failure | None = None
    costs: list[Cost] = field(default_factory=list)

    def add(self, reply: Reply) -> None:
        self.waiting -= 1
        self.costs.append(reply.cost)
        if isinstance(reply.result, Failure):
            self.failure = self.failure or reply.result
        else:
            first = reply.question.first
            self.verdicts[first : first + len(reply.result)] = reply.result

    def answer(self, id: str) -> VerifyAnswer:
        cost = Cost(sum(each.read for each in self.costs), sum(each.written for each in self.costs))
        return VerifyAnswer(id, self.failure or self.verdicts, cost)


class LanguageModel(abc.ABC):
    """A captioner and verifier, by what asks its questions.

    Args:
      settings: Which model, and how it is asked.
    """

    def __init__(self, settings: CaptionSettings):
        self._settings = settings

    @abc.abstractmethod
    def ask(self, questions: Iterable[Question]) -> Iterator[Reply]:
        """Asks questions; replies come in any order."""

    def caption(self, photos: Iterable[Photo]) -> Iterator[CaptionAnswer]:
        """Says what is in photos.

        Raises:
          ModelError: The model can't go on.
        """
        settings = self._settings
        text = prompt(settings)
        wanted = schema(settings.max_objects, settings.max_relations)

        def read(answer: str, cut_off: bool) -> Any:
            return parse(
                answer,
                cut_off=cut_off,
                max_objects=settings.max_objects,
                max_relations=settings.max_relations,
            )

        for reply in self.ask(Question(photo, text, wanted, read) for photo in photos):
            yield CaptionAnswer(reply.question.photo.id, reply.result, reply.cost)

    def verify(
        self, requests: Iterable[tuple[Photo, Sequence[Triplet]]], settings: VerifySettings
    ) -> Iterator[VerifyAnswer]:
        """Judges texts. If one of a photo's questions fails, all of the photo does.

        Raises:
          ModelError: The model can't go on.
        """
        judged: dict[str, _Judged] = {}
        without: list[str] = []  # photos without texts

        def questions() -> Iterator[Question]:
            for photo, triplets in requests:
                asked = _questions(photo, triplets, settings)
                judged[photo.id] = _Judged(["unanswered"] * len(triplets), len(asked))
                if not asked:
                    without.append(photo.id)
                yield from asked

        for reply in self.ask(questions()):
            id = reply.question.photo.id
            judged[id].add(reply)
            if not judged[id].waiting:
                yield judged.pop(id).answer(id)
        for id in without:
            yield judged.pop(id).answer(id)


def _questions(
    photo: Photo, triplets: Sequence[Triplet], settings: VerifySettings
) -> list[Question]:
    texts, found = [" ".join(triplet) for triplet in triplets], []
    for first in range(0, len(texts), settings.statements):
        some = texts[first : first + settings.statements]

        def read(answer: str, cut_off: bool, count: int = len(some)) -> Any:
            return parse_verdicts(answer, count, cut_off=cut_off)

        text = with_statements(verify_prompt(settings), some)
        found.append(Question(photo, text, verdict_schema(len(some)), read, first))
    return found
