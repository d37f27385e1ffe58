"""What is done, stale and to do, for each photo and stage.

A record counts if it was made by what would make it now: its key is a digest of the stage's identity (version,
settings, weights) and of the key and output of the record before it; the first stage's is of the photo's
content. So a changed prompt or threshold makes the records of its stage and of all stages after it stale.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from scenarioclip_jax.annotate.records import Entry, Records, json_digest
from scenarioclip_jax.annotate.shards import ALL, Shard
from scenarioclip_jax.annotate.stage import Output, Stage
from scenarioclip_jax.annotate.stages import asked_for
from scenarioclip_jax.annotate.stages.photos import Listing
from scenarioclip_jax.annotate.work import Work

DONE, FAILED, STALE, TO_DO, WAITING = "done", "failed", "stale", "to do", "waiting"
STATES = (DONE, FAILED, STALE, TO_DO, WAITING)


class Link(NamedTuple):
    """A photo in a stage.

    Attributes:
      stage: The stage's name.
      key: What a current record has; "" if the stage before has none.
      entry: The current record, of a result or a failure.
      state: One of STATES. `waiting`: the stage before failed.
    """

    stage: str
    key: str
    entry: Entry | None
    state: str


class Chain:
    """Follows photos through the stages.

    Args:
      work: The working folder.
      shard: The share of the photos.
      last: The last stage to follow; by default the last that the settings ask for.
    """

    def __init__(self, work: Work, shard: Shard = ALL, last: Stage | None = None):
        stages = asked_for(work.settings)
        if last:
            stages = stages[: stages.index(last) + 1]
        self.work, self.stages = work.reloaded(), stages
        self.listing = Listing(work, shard)
        self.records: dict[str, Records] = {
            stage.name: work.records(stage.name, shard.has) for stage in stages
        }
        self._identities = {s.name: json_digest(s.identity(self.work.pinned())) for s in stages}

    def links(self) -> Iterator[tuple[str, dict[str, Link]]]:
        """Each photo that is there, with its place in each stage."""
        for id, entry in self.listing.current():
            yield id, self.follow(id, entry)

    def follow(self, id: str, photo: Entry) -> dict[str, Link]:
        """A photo's place in each stage, by the entry that lists it."""
        links, before, failed = {}, (photo.digest,), False
        for stage in self.stages:
            records = self.records[stage.name]
            if before is None:
                state = STALE if records.has_any(id) else WAITING if failed else TO_DO
                links[stage.name] = Link(stage.name, "", None, state)
                continue
            key = json_digest([self._identities[stage.name], *before])
            entry = records.find(id, key)
            if entry is None:
                state = STALE if records.has_any(id) else TO_DO
            else:
                state = DONE if entry.done else FAILED
            links[stage.name] = Link(stage.name, key, entry, state)
            before = (key, entry.digest) if entry and entry.done else None
            failed = failed or state == FAILED
        return links

    def outputs(self, links: dict[str, Link]) -> dict[str, Output]:
        """What the stages that are done made of a photo, by stage, given its place in each."""
        return {
            name: self.records[name].read(link.entry)["output"]
            for name, link in links.items()
            if link.state == DONE and link.entry
        }

    def counts(self) -> dict[str, Counter[str]]:
        """How many photos are in each state, by stage."""
        counts: dict[str, Counter[str]] = {stage.name: Counter() for stage in self.stages}
        for _, links in self.links():
            for name, link in links.items():
                counts[name][link.state] += 1
        return counts

    def close(self) -> None:
        self.listing.close()
        for records in self.records.values():
            records.close()
