"""What an import left out or changed: counted by reason, with examples in a file."""

import json
from collections import Counter
from pathlib import Path
from types import TracebackType

from scenarioclip_jax.data.build.problems import EFFECTS, Problem, line

LISTED = 1000  # problems of a kind that are written out; all are counted


class ImportProblems:
    """Counts problems, and writes the first ones of each kind to a file as they come.

    The build keeps its problems in memory. An import may meet millions, such as boxes of Visual Genome that
    are there twice, so only their number is kept.
    """

    def __init__(self, path: Path):
        self._file = path.open("w", encoding="utf-8", errors="backslashreplace")
        self._counts: Counter[tuple[str, str, str]] = Counter()  # by reason, what and effect
        self._first: dict[tuple[str, str, str], Problem] = {}

    def __enter__(self) -> "ImportProblems":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(
        self, reason: str, effect: str, what: str, where: str, detail: str, id: str = ""
    ) -> None:
        """Adds a problem; the arguments are the fields of `Problem`, as in `problems.jsonl` of a build."""
        problem = Problem(id, reason, effect, what, where, detail)
        kind = (reason, what, effect)
        self._counts[kind] += 1
        self._first.setdefault(kind, problem)
        if self._counts[kind] <= LISTED:
            self._file.write(json.dumps(problem._asdict(), ensure_ascii=False) + "\n")

    def counts(self) -> dict[str, int]:
        """Number of problems by "<reason>: <what> <effect>": what is lost first, and what is most frequent."""
        kinds = sorted(
            self._counts, key=lambda kind: (EFFECTS.index(kind[2]), -self._counts[kind], kind)
        )
        return {f"{kind[0]}: {kind[1]} {kind[2]}": self._counts[kind] for kind in kinds}

    def examples(self) -> dict[str, str]:
        """The first problem of each kind as text, with the keys of `counts`."""
        return {f"{k[0]}: {k[1]} {k[2]}": line(problem) for k, problem in self._first.items()}
