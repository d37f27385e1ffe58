"""Tells how far a pipeline is, and lets failures be tried again."""

from collections import Counter

from scenarioclip_jax.annotate.chain import FAILED, STATES, Chain
from scenarioclip_jax.annotate.records import Entry
from scenarioclip_jax.annotate.shards import ALL
from scenarioclip_jax.annotate.stages import photos
from scenarioclip_jax.annotate.work import Work

_EXAMPLES = 3


def told(work: Work) -> str:
    """A table of the photos in each stage, then failures by kind with examples."""
    chain = Chain(work)
    try:
        listed = sum(1 for _ in chain.listing.current())
        unread = list(chain.listing.failed())
        new = sum(1 for _ in photos.to_list(work, ALL, chain.listing.records, 0))
        rows = [["stage", *STATES]]
        rows.append([photos.NAME, *(f"{n:,}" for n in (listed, len(unread), 0, new, 0))])
        for stage, counts in chain.counts().items():
            rows.append([stage, *(f"{counts[state]:,}" for state in STATES)])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = []
        for row in rows:
            cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
            lines.append("  ".join(cells))
        return "\n".join([*lines, *_failures(chain)])
    finally:
        chain.close()


def _all_failures(chain: Chain) -> dict[str, list[tuple[str, Entry]]]:
    """The current failures by stage: ids and entries."""
    found = {photos.NAME: list(chain.listing.failed())}
    found |= {stage.name: [] for stage in chain.stages}
    for id, links in chain.links():
        for stage, link in links.items():
            if link.state == FAILED and link.entry:
                found[stage].append((id, link.entry))
    return found


def _failures(chain: Chain) -> list[str]:
    lines, limit = [], chain.work.settings.attempts
    for stage, failures in _all_failures(chain).items():
        records = chain.listing.records if stage == photos.NAME else chain.records[stage]
        for kind, count in Counter(entry.kind for _, entry in failures).most_common():
            own = [(id, entry) for id, entry in failures if entry.kind == kind]
            ended = sum(not records.attempts_left(id, entry, limit) for id, entry in own)
            lines.append(
                f"{stage}: {count:,} x {kind}, of which {ended:,} aren't tried again by themselves"
            )
            for id, entry in own[:_EXAMPLES]:
                lines.append(f"  {id}: {records.read(entry)['failure']['detail'][:200]}")
    return lines


def retry(work: Work, stage: str | None = None, kind: str | None = None) -> str:
    """Lets current failures be tried again as often as new photos, of all stages and kinds or of one."""
    chain = Chain(work)
    try:
        total = 0
        for name, failures in _all_failures(chain).items():
            chosen = [each for each in failures if kind in (None, each[1].kind)]
            if stage in (None, name) and chosen:
                records = chain.listing.records if name == photos.NAME else chain.records[name]
                records.forgive(chosen)
                total += len(chosen)
        return f"{total:,} failures will be tried again by the next run"
    finally:
        chain.close()
