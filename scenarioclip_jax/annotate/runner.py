"""Runs a stage: does what is to do, writes each result as it comes, and tells how it went."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from scenarioclip_jax.annotate.chain import DONE, Chain, Link
from scenarioclip_jax.annotate.records import Entry, Records, failure_line, json_digest, result_line
from scenarioclip_jax.annotate.results import Failure
from scenarioclip_jax.annotate.shards import ALL, Shard
from scenarioclip_jax.annotate.stage import Done, Stage, Task
from scenarioclip_jax.annotate.stages import VERIFY, photos
from scenarioclip_jax.annotate.work import Work
from scenarioclip_jax.progress_bar import progress_bar

# Characters of a failure that are shown. Its remedy comes last, and its paths may be long.
_SHOWN = 1000


@dataclass
class Summary:
    """How a run of a stage went.

    Attributes:
      stage: The stage.
      counts: Photos of the share by what became of them: "done" now, "failed" now, "kept" from before,
        "given up" after failures before, "waiting" for an earlier stage.
      failures: Failures of this run by kind, each with an example.
      seconds: How long it took.
      read, written: Tokens.
    """

    stage: str
    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, tuple[int, str]] = field(default_factory=dict)
    seconds: float = 0.0
    read: int = 0
    written: int = 0

    def add(self, done: Done) -> None:
        """Counts a result."""
        self.read += done.cost.read
        self.written += done.cost.written
        if isinstance(done.result, Failure):
            kind, detail = done.result.kind, f"{done.id}: {done.result.detail}"
            count, example = self.failures.get(kind, (0, detail))
            self.failures[kind] = (count + 1, example)
            self.counts["failed"] += 1
        else:
            self.counts["done"] += 1

    def told(self, work: Work) -> str:
        """The lines to print."""
        counts = ", ".join(f"{number:,} {what}" for what, number in self.counts.items() if number)
        parts = [counts or "no photo"]
        if now := self.counts["done"] + self.counts["failed"]:
            parts.append(f"{self.seconds:.1f} s, {now / max(self.seconds, 1e-9):.3g} photos/s")
        if self.written:
            rate = (self.read + self.written) / max(self.seconds, 1e-9)
            parts.append(
                f"{self.read:,} tokens read and {self.written:,} written, {rate:,.0f} a second"
            )
            settings = work.settings
            own = settings.verifier() if self.stage == VERIFY.name else settings.caption
            price = (self.read * own.price_read + self.written * own.price_written) / 1e6
            if price:
                parts.append(f"price {price:.4f}")
        lines = [f"{self.stage}: {'; '.join(parts)}"]
        for kind, (count, example) in sorted(self.failures.items()):
            lines.append(f"  {count:,} x {kind}, such as {example[:_SHOWN]}")
        return "\n".join(lines)


def list_photos(work: Work, shard: Shard = ALL) -> Summary:
    """Runs the first step: lists the photos of a share that are new or have changed."""
    summary, began = Summary(photos.NAME), time.monotonic()
    with work.writer(photos.NAME, shard) as writer, contextlib.ExitStack() as held:
        # After the writer, so that what another process has just done is known.
        records = work.records(photos.NAME, shard.has)
        held.callback(records.close)
        todo = photos.to_list(work, shard, records, work.settings.attempts)
        found = {new.path: new for new in todo}
        attempts = {
            id: _attempts(records, photos.as_text(id), new.key) for id, new in found.items()
        }
        bar = held.enter_context(_bar(photos.NAME, len(found)))
        for done in photos.examine(work, iter(found)):
            new, tried = found[done.id], attempts[done.id]
            if isinstance(done.result, Failure):
                id = photos.as_text(done.id)
                writer.write(failure_line(id, new.key, done.result, tried + 1))
            else:
                writer.write(new.line(done.result))
            summary.add(done)
            bar.update()
    listing = photos.Listing(work, shard)
    try:
        summary.counts["kept"] += sum(1 for _ in listing.current()) - summary.counts["done"]
        given_up = sum(1 for _ in listing.failed()) - summary.counts["failed"]
        summary.counts["given up"] += given_up
    finally:
        listing.close()
    summary.seconds = time.monotonic() - began
    return summary


def run_stage(work: Work, stage: Stage, shard: Shard = ALL) -> Summary:
    """Runs a stage for the photos of a share whose earlier stages are done.

    Raises:
      WorkError: Another process runs it.
      ModelError: Its model can't be used.
    """
    summary, began = Summary(stage.name), time.monotonic()
    if section := stage.weights(work.settings):
        from scenarioclip_jax.annotate.models.revisions import resolve

        work = work.reloaded().pin(section, resolve)
    with work.writer(stage.name, shard) as writer, contextlib.ExitStack() as held:
        # After the writer, so that what another process has just done is known.
        chain = Chain(work, shard, last=stage)
        held.callback(chain.close)
        todo = _plan(chain, stage, summary)
        made = _provenance(chain.work, stage)
        bar = held.enter_context(_bar(stage.name, len(todo)))
        keys: dict[str, Link] = {}
        # With nothing to do it needs neither weights nor a server.
        tasks = _tasks(chain, todo, keys)
        results = stage.run(tasks, chain.work.pinned()) if todo else iter(())
        held.callback(_close(results))
        for done in results:
            link = keys.pop(done.id)
            if isinstance(done.result, Failure):
                attempts = link.entry.attempts if link.entry else 0
                writer.write(failure_line(done.id, link.key, done.result, attempts + 1))
            else:
                writer.write(result_line(done.id, link.key, done.result, made))
            summary.add(done)
            bar.update()
        if keys:
            raise RuntimeError(f"{stage.name} gave no answer for {sorted(keys)[:5]}")
    summary.seconds = time.monotonic() - began
    return summary


def _close(results: Iterator[Done]) -> Callable[[], None]:
    """Ends a generator, which ends its threads and requests."""
    return getattr(results, "close", lambda: None)


def _plan(chain: Chain, stage: Stage, summary: Summary) -> list[tuple[str, Entry, dict[str, Link]]]:
    """The photos to do, with their records so far."""
    todo, records = [], chain.records[stage.name]
    limit = chain.work.settings.attempts
    for id, photo in chain.listing.current():
        links = chain.follow(id, photo)
        link = links[stage.name]
        if link.state == DONE:
            summary.counts["kept"] += 1
        elif not link.key:
            summary.counts["waiting"] += 1
        elif link.entry and not records.attempts_left(id, link.entry, limit):
            summary.counts["given up"] += 1
        else:
            todo.append((id, photo, links))
    return todo


def _tasks(
    chain: Chain, todo: Iterable[tuple[str, Entry, dict[str, Link]]], keys: dict[str, Link]
) -> Iterator[Task]:
    for id, photo, links in todo:
        # The last link is of the stage itself.
        keys[id] = links[chain.stages[-1].name]

        def read(stage: str, links=links) -> dict[str, Any]:
            entry = links[stage].entry
            if entry is None or not entry.done:
                raise KeyError(stage)
            return chain.records[stage].read(entry)["output"]

        yield Task(chain.listing.photo(id, photo), read)


def _provenance(work: Work, stage: Stage) -> dict[str, Any]:
    """What makes the records, in short; the whole is in the stage's folder under the digest."""
    identity = stage.identity(work.pinned())
    digest = json_digest(identity)
    work.note_identity(stage.name, digest, identity)
    return {"by": digest, "code": metadata.version("scenarioclip_jax"), "at": time.strftime("%F")}


def _attempts(records: Records, id: str, key: str) -> int:
    entry = records.find(id, key)
    return entry.attempts if entry else 0


def _bar(name: str, total: int):
    return progress_bar(desc=name, total=total, unit=" photos", disable=not total)
