"""What was wrong with the annotations and photos of a data set, and what was done about it."""

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

FIXED = "fixed"  # the meaning was clear: repaired, nothing is lost
KEPT = "kept"  # unusual but usable as it is
DROPPED = "dropped"  # left out: `what` says how much of the scene


class AnnotationError(ValueError):
    """A data set can't be built from these annotations, or `strict` met the first problem."""


class Problem(NamedTuple):
    """One line of `problems.jsonl`."""

    id: str  # of the scene; "" where it isn't known
    reason: str  # a short name, such as "box_outside"
    effect: str  # FIXED, KEPT or DROPPED
    what: str  # "file", "scene", "object", "relation" or "negative"
    where: str  # file and field, such as "metadata.json data[3].objects[1]"
    detail: str


class Problems:
    """Collects problems; with `strict` the first one is raised as an AnnotationError."""

    def __init__(self, strict: bool = False):
        self.strict = strict
        self.found: list[Problem] = []
        self.reencoded: Counter[str] = Counter()  # photos by format; nothing was wrong with them

    def add(
        self, reason: str, effect: str, what: str, where: str, detail: str, id: str = ""
    ) -> None:
        problem = Problem(id, reason, effect, what, where, detail)
        if self.strict:
            scene = f" (id {id})" if id else ""
            raise AnnotationError(
                f"{where}{scene}: {reason}: {detail}. Correct it, or build without --strict"
                f" (this {what} would be {effect})."
            )
        self.found.append(problem)

    def counts(self) -> dict[str, int]:
        """Number of problems by "<reason>: <what> <effect>", most frequent first."""
        counts = Counter(f"{p.reason}: {p.what} {p.effect}" for p in self.found)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def write(self, path: Path) -> None:
        """Writes one JSON object a line, one line a problem."""
        lines = (json.dumps(problem._asdict(), ensure_ascii=False) for problem in self.found)
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
