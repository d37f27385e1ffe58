"""What was unusual or wrong in the annotations and photos of a data set, and what was done about it."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from scenarioclip_jax.errors import ReadableError

NOTED = "noted"  # nothing is wrong, lost or in doubt: `strict` doesn't mind
FIXED = "fixed"  # the meaning was clear: repaired, nothing is lost
KEPT = "kept"  # doubtful, but used as it is
GUESSED = "guessed"  # the meaning wasn't clear: what was taken may be wrong
DROPPED = "dropped"  # left out: `what` says how much of the scene
EFFECTS = (DROPPED, GUESSED, KEPT, FIXED, NOTED)


class AnnotationError(ReadableError, ValueError):
    """A data set can't be built from these annotations, or `strict` met the first problem."""


class Problem(NamedTuple):
    """One line of `problems.jsonl`."""

    id: str  # id of the scene; "" if unknown
    reason: str  # a short name, such as "box_outside"
    effect: str  # one of EFFECTS
    what: str  # "file", "scene", "object", "relation", "negative" or "label"
    where: str  # file and field, such as "metadata.json data[3].objects[1]"
    detail: str


class Problems:
    """Collects problems; with `strict`, the first that isn't merely noted is raised as an AnnotationError.

    Args:
      strict: Whether to raise.
      sink: A file to write them to, one JSON object per line, so that memory doesn't grow with them; without
        one they are kept in `found`.

    Attributes:
      found: The problems, if there is no sink.
      last: The latest one.
    """

    def __init__(self, strict: bool = False, sink: TextIO | None = None):
        self.strict = strict
        self.found: list[Problem] = []
        self.last: Problem | None = None
        self.reencoded: Counter[str] = Counter()  # photos by format; nothing was wrong with them
        # Focused regions stored as images, by their style.
        self.focus_styles: Counter[str] = Counter()
        self.unnamed_focus = 0  # relations that name no focused-region image
        self._sink = sink
        self._counts: Counter[tuple[str, str, str]] = Counter()  # by reason, what, effect
        self._first: dict[tuple[str, str], Problem] = {}  # by effect and reason

    def add(
        self, reason: str, effect: str, what: str, where: str, detail: str, id: str = ""
    ) -> None:
        """Adds a problem.

        Raises:
          AnnotationError: with `strict`, unless it's just noted.
        """
        problem = Problem(id, reason, effect, what, where, detail)
        if self.strict and effect != NOTED:
            raise AnnotationError(
                f"{line(problem)}. Correct it, or build without --strict (this {what} would be {effect})."
            )
        self.last = problem
        self._counts[reason, what, effect] += 1
        self._first.setdefault((effect, reason), problem)
        if self._sink:
            self._sink.write(_as_json(problem))
        else:
            self.found.append(problem)

    def number(self, reason: str, what: str | None = None, effect: str | None = None) -> int:
        """How many there are of a reason; of all reasons if it is empty."""
        wanted = (reason or None, what, effect)
        return sum(
            count
            for key, count in self._counts.items()
            if all(each in (None, value) for each, value in zip(wanted, key, strict=True))
        )

    def first(self, reason: str, effect: str) -> Problem:
        """The first problem of a reason with that effect."""
        return self._first[effect, reason]

    def counts(self) -> dict[str, int]:
        """Number of problems by "<reason>: <what> <effect>", most frequent first."""
        counts = {f"{r}: {what} {effect}": n for (r, what, effect), n in self._counts.items()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def examples(self, effect: str, limit: int = 3) -> str:
        """The first problem of each reason with that effect, one per line, for a message."""
        lines = [
            f"  {self.number(reason, effect=effect)} x {line(problem)}"
            for (of, reason), problem in self._first.items()
            if of == effect
        ]
        more = [f"  and {len(lines) - limit} other kinds"] if len(lines) > limit else []
        return "\n".join(lines[:limit] + more)

    def to_json(self) -> dict[str, Any]:
        """What `merge` takes, as JSON values: everything but the problems themselves."""
        return {
            "counts": [[*key, count] for key, count in self._counts.items()],
            "first": list(self._first.values()),
            "reencoded": self.reencoded,
            "focus_styles": self.focus_styles,
            "unnamed_focus": self.unnamed_focus,
        }

    def merge(self, values: dict[str, Any], lines: Iterable[str]) -> None:
        """Adds what another `Problems` collected: its `to_json`, and the lines that it wrote to its sink."""
        for *key, count in values["counts"]:
            self._counts[tuple(key)] += count
        for problem in map(Problem._make, values["first"]):
            self._first.setdefault((problem.effect, problem.reason), problem)
        self.reencoded.update(values["reencoded"])
        self.focus_styles.update(values["focus_styles"])
        self.unnamed_focus += values["unnamed_focus"]
        if self._sink:
            self._sink.writelines(lines)
        else:
            self.found += [Problem(**json.loads(each)) for each in lines]

    def write(self, path: Path) -> None:
        """Writes one JSON object per line and problem that was kept."""
        with path.open("w", encoding="utf-8") as file:
            file.writelines(map(_as_json, self.found))


def _as_json(problem: Problem) -> str:
    # A lone surrogate, as broken JSON may hold, can't be written but as an escape.
    text = json.dumps(problem._asdict(), ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def line(problem: Problem) -> str:
    """A problem as text for people."""
    scene = f" (id {problem.id})" if problem.id else ""
    return f"{problem.where}{scene}: {problem.reason}: {problem.detail}"
