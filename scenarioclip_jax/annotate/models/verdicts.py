"""Reads what a language model says of statements: as it stands, or as not answered; nothing is guessed at."""

from typing import Any

from scenarioclip_jax.annotate.models.answers import normalize_answer, read_object
from scenarioclip_jax.annotate.models.prompts import VERDICTS
from scenarioclip_jax.annotate.results import Failure, Verdict

# Models without a schema say these, too.
_SAID: dict[str, Verdict] = {**VERDICTS, "true": "true", "false": "false"}


def parse_verdicts(text: str, count: int, *, cut_off: bool = False) -> list[Verdict] | Failure:
    """Reads an answer: a JSON object with "yes", "no" or "unsure" by the statements' numbers.

    Args:
      text: The answer.
      count: How many statements were asked about.
      cut_off: Whether the answer ended because it was too long.

    Returns:
      A verdict for each statement, in their order, or a failure of one of the kinds `empty`, `cut_off`,
      `not_json`, `wrong_shape`, and `no_verdict`: not one statement is judged.
    """
    answer = read_object(text, "1", cut_off=cut_off)
    if isinstance(answer, Failure):
        return answer
    verdicts: list[Verdict] = [_verdict(answer.get(str(number))) for number in range(1, count + 1)]
    if count and set(verdicts) == {"unanswered"}:
        return Failure("no_verdict", f"the answer judges no statement: {text.strip()[:200]!r}")
    return verdicts


def _verdict(said: Any) -> Verdict:
    if isinstance(said, bool):
        return "true" if said else "false"
    return (
        _SAID.get(normalize_answer(said), "unanswered") if isinstance(said, str) else "unanswered"
    )
