"""A table of all labels to read and edit: rename, merge or drop them, without making any stage again.

`annotate labels` writes WORK/labels.csv, with suggestions; `assemble` applies its column `becomes`: empty keeps
a label, another text renames it (two labels with one new name are merged), `-` drops it. What was edited stays
when the table is written anew.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rapidfuzz import fuzz, process

from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.wordnet import Meanings, Wordnet
from scenarioclip_jax.data.stored.labels import normalize_label
from scenarioclip_jax.files import write_text
from scenarioclip_jax.words.names import read_name
from scenarioclip_jax.words.predicates import normalize_predicate

NAME = "labels.csv"
KINDS = ("action", "object", "predicate")
DROP = "-"
_COLUMNS = ("kind", "label", "count", "becomes", "suggestion", "why")
_ALIKE = 90.0  # of 100: how alike two spellings are, by the letters that would have to change


class Row(NamedTuple):
    """A label.

    Attributes:
      kind: One of KINDS.
      label: The text, in its normal form.
      count: How often it occurs in scenes.
      becomes: What the user made of it.
      suggestion, why: What it might become, and the reason; or empty.
    """

    kind: str
    label: str
    count: int
    becomes: str = ""
    suggestion: str = ""
    why: str = ""


class Labels:
    """What labels become.

    Args:
      becomes: New texts by kind and label; DROP drops.
    """

    def __init__(self, becomes: Mapping[tuple[str, str], str] | None = None):
        self._becomes = dict(becomes or {})

    def apply(self, scene: dict[str, Any]) -> tuple[dict[str, Any], list[list[str]]]:
        """Returns a scene with its labels' new names, and what was dropped: filter and detail."""
        if not self._becomes:
            return scene, []
        dropped, kept, objects = [], {}, []
        for number, thing in enumerate(scene["objects"]):
            name = self._new("object", thing["name"])
            if name is None:
                dropped.append(["label_dropped", f"object {thing['name']}"])
                continue
            kept[number] = len(objects)
            objects.append(thing | {"name": name})
        relations = []
        for relation in scene["relations"]:
            predicate = self._new("predicate", relation["predicate"])
            ends = kept.get(relation["subject"]), kept.get(relation["object"])
            if predicate is None or None in ends:
                names = [scene["objects"][relation[end]]["name"] for end in ("subject", "object")]
                told = f"{names[0]} {relation['predicate']} {names[1]}"
                dropped.append(["label_dropped", f"relation {told}"])
                continue
            ends_and = {"subject": ends[0], "predicate": predicate, "object": ends[1]}
            relations.append(relation | ends_and)
        true = {
            (objects[r["subject"]]["name"], r["predicate"], objects[r["object"]]["name"])
            for r in relations
        }
        for relation in relations:
            for field in ("negatives", "paraphrases"):
                if field in relation:
                    texts = (self._triplet(text) for text in relation[field])
                    new = [
                        t for t in texts if t and (field != "negatives" or tuple(t[:3]) not in true)
                    ]
                    relation[field] = new
        scene = scene | {"objects": objects, "relations": relations}
        if "action" in scene:
            action = self._new("action", scene["action"])
            scene = {name: value for name, value in scene.items() if name != "action"}
            scene |= {"action": action} if action else {}
        return scene, dropped

    def _new(self, kind: str, label: str) -> str | None:
        """What a label becomes; None if it is dropped."""
        new = self._becomes.get((kind, normalize_label(label)), "")
        return None if new == DROP else new or label

    def _triplet(self, text: Any) -> Any:
        """A negative or paraphrase with the new names; None if a part of it is dropped."""
        if isinstance(text, str):
            return text
        parts = [
            self._new(kind, part)
            for kind, part in zip(("object", "predicate", "object"), text[:3], strict=True)
        ]
        return None if None in parts else [*parts, *text[3:]]


def counted(scenes: Iterable[dict[str, Any]]) -> dict[str, Counter[str]]:
    """How often each label occurs, by kind."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for scene in scenes:
        if "action" in scene:
            counts["action"][normalize_label(scene["action"])] += 1
        counts["object"].update(normalize_label(thing["name"]) for thing in scene["objects"])
        counts["predicate"].update(normalize_label(r["predicate"]) for r in scene["relations"])
    return counts


def write_table(
    folder: Path, counts: Mapping[str, Counter[str]], wordnet: Wordnet | None = None
) -> Path:
    """Writes the table, the most frequent labels first; keeps what was edited, also of labels that are gone.

    Args:
      folder: The working folder.
      counts: How often each label occurs, by kind.
      wordnet: What suggests synonyms and more general names of objects, if anything does.
    """
    edited = _edited(folder / NAME)
    meanings = Meanings(wordnet, counts["object"]) if wordnet else None
    rows = []
    for kind in KINDS:
        labels = counts[kind] + Counter({label: 0 for k, label in edited if k == kind})
        labels.update({label: 0 for k, label in edited if k == kind})
        for label, count in sorted(labels.items(), key=lambda item: (-item[1], item[0])):
            suggestion, why = _suggest(kind, label, counts[kind], meanings)
            rows.append(Row(kind, label, count, edited.get((kind, label), ""), suggestion, why))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(rows)
    write_text(folder / NAME, stream.getvalue())
    return folder / NAME


def read_labels(folder: Path) -> Labels:
    """Reads the table of a working folder; without one, labels stay.

    Raises:
      WorkError: It can't be read, or a label becomes one that becomes another.
    """
    becomes = {key: new for key, new in _edited(folder / NAME).items() if new}
    for (kind, label), new in becomes.items():
        further = becomes.get((kind, new), "")
        if further and further != new:
            raise WorkError(
                f"{folder / NAME}: {kind} {label!r} becomes {new!r}, which becomes {further!r}; write what it "
                "shall be in the end"
            )
    return Labels(becomes)


def _edited(file: Path) -> dict[tuple[str, str], str]:
    """The column `becomes`, in normal form, where it isn't empty."""
    found: dict[tuple[str, str], str] = {}
    for number, row in _rows(file):
        # A cell more shifts the others: "big, red box" without quotes is two.
        if None in row:
            raise WorkError(
                f"{file} line {number}: has more cells than the first line; write a text with commas in quotes"
            )
        kind, label, new = (
            str(row.get(column) or "").strip() for column in (*_COLUMNS[:2], "becomes")
        )
        if kind not in KINDS or not label:
            raise WorkError(
                f"{file} line {number}: needs the columns {', '.join(_COLUMNS[:4])}, and a kind of "
                f"{', '.join(KINDS)}"
            )
        if "becomes" not in row:
            raise WorkError(f"{file}: has no column `becomes` in its first line; name it so")
        if not new:
            continue
        label, told = normalize_label(label), new if new == DROP else normalize_label(new)
        if not told:
            raise WorkError(
                f"{file} line {number}: {label!r} can't become {new!r}, which shows no letter; write a "
                f"text, or {DROP} to drop the label"
            )
        if found.setdefault((kind, label), told) != told:
            raise WorkError(
                f"{file} line {number}: {kind} {label!r} becomes {told!r}, and {found[kind, label]!r} in a "
                "line before; remove one of them"
            )
    return found


def _rows(file: Path) -> list[tuple[int, dict[str | None, Any]]]:
    """The rows of a table that aren't empty, with the numbers of their lines."""
    if not file.is_file():
        return []
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
        # Spreadsheets of some languages write semicolons.
        delimiter = ";" if text.partition("\n")[0].count(";") > 2 else ","
        # Strict, because a quote without its end would take all further lines for one cell.
        reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True)
        return [(reader.line_num, row) for row in reader if any(row.values())]
    except (UnicodeDecodeError, csv.Error) as error:
        raise WorkError(
            f"{file}: isn't a table in UTF-8 ({error}); save it as CSV, UTF-8"
        ) from error


def _suggest(
    kind: str, label: str, counts: Counter[str], meanings: Meanings | None
) -> tuple[str, str]:
    """A more frequent label that says the same, most likely, and why; else one that says less."""
    meanings = meanings if kind == "object" else None
    if kind == "object":
        name = read_name(label)
        if name.noun != label and counts[name.noun] >= counts[label]:
            return name.noun, "plural" if name.plural else "number or article"
    if kind == "predicate":
        same = [
            p for p in counts if p != label and normalize_predicate(p) == normalize_predicate(label)
        ]
        best = max(same, key=lambda p: (counts[p], p), default="")
        if best and (counts[best], best) > (counts[label], label):
            return best, "same meaning"
    if meanings and (same := meanings.same(label)):
        return same, "same meaning, by the wordnet"
    others = [other for other in counts if counts[other] > counts[label]]
    found = process.extractOne(label, others, scorer=fuzz.ratio, score_cutoff=_ALIKE)
    if found:
        return found[0], f"spelling, {found[1]:.0f}% alike"
    if meanings and (wider := meanings.wider(label)):
        return wider, f"more general: {label} is a kind of it, by the wordnet"
    return "", ""
