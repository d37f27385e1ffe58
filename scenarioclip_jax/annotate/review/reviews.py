"""What follows from the decisions of all reviewers: what becomes of each scene, and how far they agree.

A decision counts as long as the scene that it was made on is the current one. Of one reviewer the last that
wasn't taken back counts; of several reviewers the latest.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.annotate.review.decisions import (
    DROP,
    EDIT,
    KEEP,
    UNDO,
    Decision,
    Reader,
    readers,
)

Scene = dict[str, Any]


class Dropped(NamedTuple):
    """A scene that is left out, and who said so."""

    reviewer: str


class Agreement(NamedTuple):
    """How far reviewers agree.

    Attributes:
      shared: Scenes that two or more of them decided on.
      alike: Those on which all decided the same: the same action, and the same scene if they edited it.
    """

    shared: int
    alike: int


class Reviews:
    """The decisions on the scenes of a working folder. Not for several threads at once.

    Args:
      folder: The working folder.

    Raises:
      WorkError: A file isn't named as a reviewer.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._readers: dict[str, Reader] = {}
        # Decisions that weren't taken back, the last one at the end, by photo, then digest and reviewer.
        self._stacks: dict[str, dict[tuple[str, str], list[Decision]]] = {}
        self._applied: dict[str, str] = {}
        self.refresh()

    @property
    def reviewers(self) -> list[str]:
        """Names of all reviewers."""
        return list(self._readers)

    @property
    def damaged(self) -> int:
        """Lines that can't be read."""
        return sum(reader.damaged for reader in self._readers.values())

    def refresh(self) -> set[str]:
        """Reads what was added; returns the photos of which something may have changed."""
        found = readers(self._folder)
        if self._readers.keys() - found.keys() or any(r.replaced() for r in self._readers.values()):
            changed = set(self._stacks)  # a file was taken away or copied anew: begin again
            self.close()
            self._readers, self._stacks = found, {}
        else:
            changed = set()
            for name, reader in found.items():
                if self._readers.setdefault(name, reader) is not reader:
                    reader.close()
        for name in sorted(self._readers):
            for decision in self._readers[name].new():
                self._add(decision)
                changed.add(decision.id)
        return changed

    def _add(self, decision: Decision) -> None:
        stack = self._stacks.setdefault(decision.id, {}).setdefault(
            (decision.digest, decision.reviewer), []
        )
        if decision.action != UNDO:
            stack.append(decision)
        elif stack:
            stack.pop()

    def standing(self, id: str, digest: str) -> list[Decision]:
        """The decisions of each reviewer that stand on a scene, the latest first."""
        found = [
            stack[-1]
            for (of, _), stack in self._stacks.get(id, {}).items()
            if stack and of == digest
        ]
        return sorted(found, key=lambda each: (each.at, each.reviewer), reverse=True)

    def stale(self, id: str, digest: str) -> list[Decision]:
        """The decisions that stand on other scenes that the photo had, the latest first."""
        found = [
            stack[-1]
            for (of, _), stack in self._stacks.get(id, {}).items()
            if stack and of != digest
        ]
        return sorted(found, key=lambda each: (each.at, each.reviewer), reverse=True)

    def scene(self, decision: Decision) -> Scene:
        """The scene of an edit."""
        return self._readers[decision.reviewer].scene(decision)

    def of(self, id: str, digest: str) -> Dropped | Scene | None:
        """What becomes of a scene: nothing, if it is kept or wasn't decided on; or it is dropped, or replaced.

        Args:
          id: The photo.
          digest: Digest of its record of `validate`.
        """
        standing = self.standing(id, digest)
        if not standing:
            return None
        latest = standing[0]
        self._applied[id] = latest.action
        if latest.action == DROP:
            return Dropped(latest.reviewer)
        return self.scene(latest) if latest.action == EDIT else None

    def counts(self) -> dict[str, int]:
        """Photos by what `of` said so far; "stale": those of which no decision is on the current scene."""
        stale = sum(
            any(stacks.values()) and id not in self._applied for id, stacks in self._stacks.items()
        )
        applied = Counter(self._applied.values())
        counts = {action: applied[action] for action in (KEEP, DROP, EDIT)} | {"stale": stale}
        return {name: number for name, number in counts.items() if number}

    def agreement(self, scenes: Iterator[tuple[str, str]]) -> Agreement:
        """How far reviewers agree.

        Args:
          scenes: Ids and digests.
        """
        shared = alike = 0
        for id, digest in scenes:
            if id in self._stacks and len(found := self.standing(id, digest)) > 1:
                shared += 1
                alike += len({(each.action, each.scene) for each in found}) == 1
        return Agreement(shared, alike)

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
