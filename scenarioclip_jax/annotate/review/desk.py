"""What the page asks for and what it decides, without HTTP."""

import threading
from typing import Any

from scenarioclip_jax.annotate.review.catalog import Catalog, Row, row_of
from scenarioclip_jax.annotate.review.decisions import DROP, EDIT, KEEP, UNDO, Decision, Journal
from scenarioclip_jax.annotate.review.edits import EMPTY, Problem, edited
from scenarioclip_jax.annotate.review.reviews import Reviews
from scenarioclip_jax.annotate.work import Work

Json = dict[str, Any]


class Refused(Exception):
    """A decision isn't saved.

    Attributes:
      status: The status of HTTP that says why.
      problems: What is wrong, by place.
    """

    def __init__(self, status: int, problems: list[Problem]):
        super().__init__("; ".join(each.what for each in problems))
        self.status, self.problems = status, problems


class Desk:
    """The desk of one reviewer: scenes, decisions, progress. For several threads.

    Args:
      work: The working folder.
      reviewer: The reviewer.

    Raises:
      WorkError: Another process writes this reviewer's decisions.
    """

    def __init__(self, work: Work, reviewer: str):
        self._deciding = threading.Lock()
        self._journal = Journal(work.folder, reviewer)
        self.reviewer = reviewer
        self.catalog = Catalog(work)
        self._reviews = Reviews(work.folder)
        self._rows = list(self.catalog.rows)
        self._version, self._changed = 0, dict[int, int]()
        self._note(set(self.catalog.ids))

    def _note(self, ids: set[str]) -> None:
        """Makes the rows of photos anew on which something was decided."""
        self._version += 1
        for id in ids:
            number = self.catalog.numbers.get(id)
            if number is None:
                continue  # a photo that isn't there any more
            row, standing = self.catalog.rows[number], self._standing(id)
            if edit := next((each for each in standing[:1] if each.action == EDIT), None):
                reasons = [[reason, ""] for reason in row.reasons]
                row = row_of(self._reviews.scene(edit), reasons)
            if standing or self._rows[number] != row or number in self._changed:
                self._changed[number] = self._version
            self._rows[number] = row

    def _standing(self, id: str) -> list[Decision]:
        digest = self.catalog.digest(id)
        return self._reviews.standing(id, digest) if digest else []

    def list(self) -> Json:
        """All rows; labels and reasons are told once, and in the rows by their numbers."""
        with self._deciding:
            labels: dict[str, int] = {}
            reasons: dict[str, int] = {}
            rows = [
                [id, *_compact(row, labels, reasons)]
                for id, row in zip(self.catalog.ids, self.catalog.rows, strict=True)
            ]
        return {
            "reviewer": self.reviewer,
            "labels": list(labels),
            "reasons": list(reasons),
            "rows": rows,
        }

    def changes(self, since: int) -> Json:
        """The decisions since a version of this process, 0 for all, and how far the review is."""
        with self._deciding:
            self._look_for_others()
            return self._changes(since)

    def _look_for_others(self) -> None:
        if changed := self._reviews.refresh():
            self._note(changed)

    def _changes(self, since: int) -> Json:
        rows = []
        for number, version in self._changed.items():
            if version > since:
                id, row = self.catalog.ids[number], self._rows[number]
                said = [[each.reviewer, each.action] for each in self._standing(id)]
                facts = [row.state, row.objects, row.relations, row.score, list(row.labels)]
                rows.append([number, said, facts])
        return {"version": self._version, "rows": rows, "progress": self._progress()}

    def _progress(self) -> Json:
        by = {name: 0 for name in [self.reviewer, *self._reviews.reviewers]}
        decided = total = 0
        for id, digest in self.catalog.scenes():
            total += 1
            standing = self._reviews.standing(id, digest)
            decided += bool(standing)
            for each in standing:
                by[each.reviewer] += 1
        shared, alike = self._reviews.agreement(self.catalog.scenes())
        return {
            "total": total,
            "decided": decided,
            "reviewers": by,
            "shared": shared,
            "alike": alike,
            "damaged": self._reviews.damaged,
        }

    def scene(self, id: str) -> Json:
        """A photo in full; raises KeyError."""
        scene, removed = self.catalog.scene(id)
        digest = self.catalog.digest(id)
        try:
            width, height = self.catalog.size(id)
        except KeyError:
            if id not in self.catalog.numbers:
                raise
            width = height = 0
        with self._deciding:
            self._look_for_others()
            return {
                "id": id,
                "digest": digest,
                "photo": self.catalog.version(id),
                "width": width,
                "height": height,
                "scene": scene,
                "removed": removed,
                "decisions": [self._told(each) for each in self._standing(id)],
                "stale": [
                    [each.reviewer, each.action, each.at]
                    for each in self._reviews.stale(id, digest)
                ],
            }

    def _told(self, decision: Decision) -> Json:
        told: Json = {"reviewer": decision.reviewer, "action": decision.action, "at": decision.at}
        if decision.action == EDIT:
            told |= {"scene": self._reviews.scene(decision), "same": decision.scene}
        return told

    def decide(
        self, id: str, digest: str, action: str, values: Any = None, base: str = "", since: int = 0
    ) -> Json:
        """Saves a decision; it is on the disk when this returns.

        Args:
          id: The photo.
          digest: Digest of the scene that was shown.
          action: Of `decisions.ACTIONS`.
          values: What an edit made of the scene, see `edits.edited`.
          base: Digest of the edit's scene that `values` began with; "" for the scene of the stages.

          since: The version that the page has.

        Returns:
          What `changes` says, and `notes` of what was left out of an edit.

        Raises:
          Refused: It isn't saved.
          OSError: It can't be saved.
        """
        if id not in self.catalog.numbers:
            raise Refused(404, [Problem("", f"{id}: there is no such photo")])
        if not (current := self.catalog.digest(id)):
            raise Refused(409, [Problem("", "this photo has no scene yet; run its stages first")])
        if digest != current:
            raise Refused(409, [Problem("", "the scene has changed; reload the page")])
        if action not in (KEEP, DROP, EDIT, UNDO):
            raise Refused(422, [Problem("action", f"{action!r} isn't a decision")])
        with self._deciding:
            self._look_for_others()
            scene, notes = None, list[str]()
            if action == EDIT:
                result = edited(values, self._base(id, base), self.catalog.size(id))
                if result.scene is None:
                    raise Refused(422, result.problems)
                scene, notes = result.scene, result.notes
            elif action == UNDO and all(
                each.reviewer != self.reviewer for each in self._standing(id)
            ):
                raise Refused(409, [Problem("", "you have decided nothing here")])
            self._journal.write(id, digest, action, scene)
            self._look_for_others()
            return self._changes(since) | {"notes": notes}

    def _base(self, id: str, base: str) -> Json:
        if not base:
            return self.catalog.scene(id)[0] or EMPTY
        for each in self._standing(id):
            if each.action == EDIT and each.scene == base:
                return self._reviews.scene(each)
        raise Refused(
            409, [Problem("", "the edit that you began with was taken back; reload the page")]
        )

    def close(self) -> None:
        self._journal.close()
        self._reviews.close()
        self.catalog.close()


def _compact(row: Row, labels: dict[str, int], reasons: dict[str, int]) -> list[Any]:
    return [
        row.state,
        row.objects,
        row.relations,
        row.score,
        [labels.setdefault(label, len(labels)) for label in row.labels],
        [reasons.setdefault(reason, len(reasons)) for reason in row.reasons],
    ]
