"""What was unusual or wrong in the annotations and photos of a data set, and what was done about it."""

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

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
    """Collects problems; with `strict`, the first that isn't merely noted is raised as an AnnotationError."""

    def __init__(self, strict: bool = False):
        self.strict = strict
        self.found: list[Problem] = []
        self.reencoded: Counter[str] = Counter()  # photos by format; nothing was wrong with them
        self.focus_styles: Counter[str] = (
            Counter()
        )  # focused regions stored as images, by their style
        self.unnamed_focus = 0  # relations that name no focused-region image

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
        self.found.append(problem)

    def counts(self) -> dict[str, int]:
        """Number of problems by "<reason>: <what> <effect>", most frequent first."""
        counts = Counter(f"{p.reason}: {p.what} {p.effect}" for p in self.found)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def examples(self, effect: str, limit: int = 3) -> str:
        """The first problem of each reason with that effect, one per line, for a message."""
        first: dict[str, Problem] = {}
        for problem in self.found:
            if problem.effect == effect:
                first.setdefault(problem.reason, problem)
        number = Counter(p.reason for p in self.found if p.effect == effect)
        lines = [f"  {number[p.reason]} x {line(p)}" for p in first.values()]
        more = [f"  and {len(lines) - limit} other kinds"] if len(lines) > limit else []
        return "\n".join(lines[:limit] + more)

    def write(self, path: Path) -> None:
        """Writes one JSON object per line and problem."""
        with path.open("w", encoding="utf-8") as file:
            for problem in self.found:
                # A lone surrogate, as broken JSON may hold, can't be written but as an escape.
                text = json.dumps(problem._asdict(), ensure_ascii=False)
                file.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def line(problem: Problem) -> str:
    """A problem as text for people."""
    scene = f" (id {problem.id})" if problem.id else ""
    return f"{problem.where}{scene}: {problem.reason}: {problem.detail}"
