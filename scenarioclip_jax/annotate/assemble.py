"""The last step, `assemble`: gathers the scenes into metadata that the build reads, and how they were made."""

import gzip
import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scenarioclip_jax.annotate import card, groups, labels, near_duplicates
from scenarioclip_jax.annotate.chain import DONE, FAILED, Chain, Link
from scenarioclip_jax.annotate.labels import Labels
from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.records import Entry
from scenarioclip_jax.annotate.review.reviews import Dropped, Reviews
from scenarioclip_jax.annotate.stages import VALIDATE, photos
from scenarioclip_jax.annotate.wordnet import open_wordnet
from scenarioclip_jax.annotate.work import Work
from scenarioclip_jax.console import say
from scenarioclip_jax.data.photo_listing import SUFFIXES
from scenarioclip_jax.files import whole, write_text
from scenarioclip_jax.shell import to_paste

FOLDER, METADATA, SUMMARY, REMOVED = (
    "dataset",
    "metadata.jsonl.gz",
    "assemble.json",
    "removed.jsonl",
)
EXAMPLES = "examples"
Scene = dict[str, Any]


@dataclass
class Assembled:
    """What was assembled.

    Attributes:
      folder: Where it lies.
      counts: Scenes, objects, relations, masks, negatives, paraphrases.
      removed: What each filter left out.
      missing: Photos that aren't in it, by the first stage that has no result for them and the state there.
      reviews: Scenes that reviewers kept, dropped or edited, and "stale": those that were made anew since.
    """

    folder: Path
    counts: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    reviews: dict[str, int] = field(default_factory=dict)

    def told(self, work: Work) -> str:
        """The lines to print."""
        counts = ", ".join(f"{number:,} {what}" for what, number in self.counts.items())
        lines = [f"assemble: {counts}"]
        lists = (
            ("left out by filters", self.removed),
            ("photos without a scene", self.missing),
            ("decisions of reviewers", Counter(self.reviews)),
        )
        for title, found in lists:
            if found:
                listed = ", ".join(f"{number:,} {what}" for what, number in found.most_common())
                lines.append(f"  {title}: {listed}")
        flags = [f"--metadata={self.folder}", f"--images={work.images}"]
        flags += ["--follow-links"] if work.follow_links else []
        shards = work.folder / "shards"
        build = to_paste(
            "python", "-m", "scenarioclip_jax.data.build", *flags, f"--output={shards}"
        )
        train = to_paste(
            *("python", "-m", "scenarioclip_jax.main", "--config=configs/pretrain.py"),
            f"--config.data.dir={shards}",
        )
        return "\n".join([*lines, "Go on with:", f"  {build}", f"  {train}"])


def assemble(work: Work) -> Assembled:
    """Writes the data set anew.

    Raises:
      WorkError: There is no scene, the table of labels can't be read, or the folder holds something that this
        didn't write.
    """
    folder = work.folder / FOLDER
    _check(folder)
    folder.mkdir(exist_ok=True)
    assembled, chain, reviews = Assembled(folder), Chain(work), Reviews(work.folder)
    try:
        with whole(folder / METADATA) as unfinished, whole(folder / REMOVED) as left_out:
            with (
                unfinished.open("xb") as file,
                # Neither name nor time, so that the same scenes give the same bytes.
                gzip.GzipFile("", "wb", fileobj=file, mtime=0, compresslevel=6) as metadata,
                left_out.open("xb") as removed,
            ):
                for record in _Assembler(chain, reviews, assembled, removed).records():
                    metadata.write(_line(record))
            assembled.reviews = reviews.counts()
            if not assembled.counts["scenes"]:
                raise WorkError(_nothing(work, assembled))
        summary = _summary(chain, assembled)
        write_text(folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
        _write_card(work, folder, summary)
    except OSError as error:
        error.filename = error.filename or str(folder)  # the error of a full disk names no file
        raise
    finally:
        chain.close()
        reviews.close()
    return assembled


def _nothing(work: Work, assembled: Assembled) -> str:
    """Why there is no scene, and what to do."""
    start = f"{work.folder}: no photo has a scene, so nothing was written"
    if not assembled.missing:
        return (
            f"{start}: {work.images} holds no file that ends in {', '.join(SUFFIXES)}; check it. "
            "Links to other folders are followed with --follow-links only"
        )
    told = ", ".join(f"{n:,} {what}" for what, n in assembled.missing.items())
    remedy = "see `annotate status`"
    if assembled.removed:
        told += ": " + ", ".join(f"{n:,} {what}" for what, n in assembled.removed.most_common())
        remedy += ", and the settings of `validate` and `assemble`"
    return f"{start} ({told}); {remedy}"


def scenes(
    chain: Chain, reviews: Reviews
) -> Iterator[tuple[str, dict[str, Link], Scene | None, list[list[str]]]]:
    """Each photo with its scene, as reviewers left it, and what was left out; None if it has none."""
    for id, links in chain.links():
        entry = links[VALIDATE.name].entry
        output = chain.records[VALIDATE.name].read(entry).get("output", {}) if entry else {}
        scene, removed = output.get("scene"), output.get("removed", [])
        said = reviews.of(id, entry.digest) if entry and entry.done else None
        told = (scene or {}).get("action")
        if isinstance(said, Dropped):
            scene, removed = None, [*removed, ["review_dropped", f"by {said.reviewer}"]]
        elif said is not None:
            # An edit gives a scene to a photo that had too little for one.
            scene, removed = said, [each for each in removed if not each[0].startswith("scene_")]
        given = chain.listing.source(id).get("action") if scene else None
        if scene and given and scene.get("action") == told:  # no reviewer has changed it
            scene = {**scene, "action": given}
        yield id, links, scene, removed


def write_labels(work: Work, wordnet: str = "") -> Path:
    """Writes the table of labels; see `labels.py`.

    Args:
      work: The working folder.
      wordnet: In place of the setting `labels.wordnet`.

    Raises:
      WorkError: The table or the wordnet can't be read.
    """
    given_as = "--wordnet" if wordnet else "labels.wordnet"
    wordnet = wordnet or work.settings.labels.wordnet
    meanings = open_wordnet(wordnet, given_as) if wordnet else None
    chain, reviews = Chain(work), Reviews(work.folder)
    try:
        counts = labels.counted(scene for _, _, scene, _ in scenes(chain, reviews) if scene)
    finally:
        chain.close()
        reviews.close()
    return labels.write_table(work.folder, counts, meanings)


def _write_card(work: Work, folder: Path, summary: dict[str, Any]) -> None:
    """Writes the card and its pictures: of scenes with relations, chosen by a hash of their ids."""
    from scenarioclip_jax.annotate import show  # it imports matplotlib, which takes a second

    def ids() -> Iterator[str]:
        with gzip.open(folder / METADATA, "rt", encoding="utf-8") as file:
            for record in map(json.loads, file):
                if record["relations"]:
                    yield record["id"]

    number = work.settings.assemble.examples
    chosen = heapq.nsmallest(number, ids(), lambda id: hashlib.sha256(id.encode()).digest())
    pictures = []
    for position, id in enumerate(chosen):
        name = f"{EXAMPLES}/{position}.png"
        try:
            show.draw(work, id, folder / name)
            pictures.append(name)
        except ValueError as error:  # matplotlib can't; the data set is whole without a picture
            say(f"the picture of {id} for the card can't be drawn ({error})", error=True)
    write_text(folder / card.NAME, card.card(summary, work.settings.assemble, pictures))


def _check(folder: Path) -> None:
    ours = {METADATA, REMOVED, SUMMARY}
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if other := sorted(name for name in found - ours if name.startswith(("metadata", "annot"))):
        raise WorkError(
            f"{folder}: holds {', '.join(other)}, which the build would read, too; remove it"
        )


class _Assembler:
    """Makes records of scenes, and counts what is left out."""

    def __init__(self, chain: Chain, reviews: Reviews, assembled: Assembled, removed: Any):
        self._chain, self._assembled, self._removed = chain, assembled, removed
        self._reviews = reviews
        self._settings = chain.work.settings
        self._labels = labels.read_labels(chain.work.folder)
        self._rare = self._rare_labels()
        self._duplicates = self._near_duplicates()
        self._groups = groups.joined([self._duplicates, self._videos()])

    def _scenes(self) -> Iterator[tuple[str, dict[str, Link], Scene | None, list[list[str]]]]:
        return scenes(self._chain, self._reviews)

    def _rare_labels(self) -> Labels:
        """Drops labels that occur too seldom, after the table was applied."""
        if (least := self._settings.assemble.min_count) <= 1:
            return Labels()
        found = (self._labels.apply(scene)[0] for _, _, scene, _ in self._scenes() if scene)
        counts = labels.counted(found)
        return Labels(
            {
                (kind, label): labels.DROP
                for kind, counted in counts.items()
                for label, count in counted.items()
                if count < least
            }
        )

    def _near_duplicates(self) -> dict[str, str]:
        if self._settings.assemble.duplicates == "keep":
            return {}
        hashes = {
            id: self._chain.listing.known(id)["hash"] for id, _, scene, _ in self._scenes() if scene
        }
        return near_duplicates.groups(hashes, self._settings.assemble.distance)

    def _videos(self) -> dict[str, str]:
        """The video of each frame of one."""
        listing = self._chain.listing
        found = ((id, listing.source(id).get("group")) for id, _ in listing.current())
        return {id: group for id, group in found if group}

    def records(self) -> Iterator[Scene]:
        """The records of docs/guides/format.md."""
        for id, links, scene, left_out in self._scenes():
            entry = links[VALIDATE.name].entry
            if entry is None or not entry.done:
                first = next(link for link in links.values() if link.state != DONE)
                state = "failed" if first.state == FAILED else "not done"
                self._miss(id, f"{state} in {first.stage}", first.entry, first.stage)
                continue
            scene = self._filtered(id, scene, left_out)
            if scene is None:
                self._assembled.missing["left out by filters"] += 1
                continue
            self._count(scene)
            known = self._chain.listing.known(id)
            if "action" in self._chain.listing.source(id):
                self._assembled.counts["actions of folders"] += 1
            size = {"width": known["width"], "height": known["height"]}
            group = self._groups.get(id)
            more = {"group": group} if group else {}
            yield {"id": id, "image_path": id, **size, **scene, **more}
        for id, entry in self._chain.listing.failed():
            self._miss(id, f"failed in {photos.NAME}", entry, photos.NAME)

    def _miss(self, id: str, why: str, entry: Entry | None, stage: str) -> None:
        """Counts and lists a photo that a stage has no result for."""
        self._assembled.missing[why] += 1
        detail = ""
        if entry:  # of a failure
            chain = self._chain
            records = chain.listing.records if stage == photos.NAME else chain.records[stage]
            failure = records.read(entry)["failure"]
            detail = f"{failure['kind']}: {failure['detail']}"
        self._removed.write(_line({"id": id, "filter": why, "detail": detail}))

    def _filtered(self, id: str, scene: Scene | None, removed: list[list[str]]) -> Scene | None:
        """A scene after the filters that need all scenes; None if nothing is left of it."""
        if (
            scene
            and self._settings.assemble.duplicates == "drop"
            and self._duplicates.get(id, id) != id
        ):
            removed, scene = [*removed, ["near_duplicate", self._duplicates[id]]], None
        for change in (self._labels, self._rare):
            if scene:
                scene, dropped = change.apply(scene)
                if change is self._rare:
                    dropped = [["label_rare", detail] for _, detail in dropped]
                removed = [*removed, *dropped]
        least = self._settings.validate
        if scene and (
            len(scene["objects"]) < least.min_objects
            or len(scene["relations"]) < least.min_relations
        ):
            removed, scene = [*removed, ["scene_few_labels", "too little is left of it"]], None
        for name, detail in removed:
            self._assembled.removed[name] += 1
            self._removed.write(_line({"id": id, "filter": name, "detail": detail}))
        return scene

    def _count(self, scene: Scene) -> None:
        relations, counts = scene["relations"], self._assembled.counts
        counts["scenes"] += 1
        counts["objects"] += len(scene["objects"])
        counts["masks"] += sum("mask" in thing for thing in scene["objects"])
        counts["relations"] += len(relations)
        for what in ("negatives", "paraphrases"):
            counts[what] += sum(len(relation.get(what, ())) for relation in relations)


def _summary(chain: Chain, assembled: Assembled) -> dict[str, Any]:
    # Only records that these would make now count, so all scenes have them in common.
    made = {stage.name: stage.identity(chain.work.pinned()) for stage in chain.stages}
    return {
        "counts": dict(assembled.counts),
        "removed": dict(assembled.removed),
        "missing": dict(assembled.missing),
        "reviews": assembled.reviews,
        "made": made,
    }


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
