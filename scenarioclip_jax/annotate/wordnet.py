"""What a wordnet tells of names: which mean the same, and which are a kind of another. Reads them by `wn`.

A name means the first noun sense of its word, in the order that the wordnet gives, which in those of English is
by how common the senses are. It is a rule for suggestions, which people accept or not: "mouse" is the animal.
"""

import importlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.words.names import read_name

_ABOVE = ("hypernym", "instance_hypernym")
_ENDS = (".xml", ".gz", ".xz")


class Wordnet(Protocol):
    def first_sense(self, noun: str) -> str | None:
        """The synset of a noun's first sense; None if the wordnet doesn't know it."""
        ...

    def above(self, synset: str) -> list[str]:
        """The synsets of which one is a kind, one step up."""
        ...


def open_wordnet(given: str, given_as: str) -> Wordnet:
    """Opens a wordnet.

    Args:
      given: A file in WN-LMF, or the name of a lexicon that `wn` has in its folder, such as oewn:2024.
      given_as: The flag or setting that names it, for errors.

    Raises:
      WorkError: The package wn isn't installed, there is no such file or lexicon, or it can't be read.
    """
    where = f"{given_as}={given}"
    try:
        wn = importlib.import_module("wn")
    except ModuleNotFoundError as error:
        raise WorkError(
            f"{where}: this needs wn, which isn't installed: pip install 'scenarioclip_jax[annotate]'"
        ) from error
    if Path(given).exists() or given.endswith(_ENDS) or "/" in given:
        if not Path(given).exists():
            raise WorkError(f"{where}: there is no such file; name one in WN-LMF")
        return _File(Path(given), where)
    try:
        lexicon = wn.Wordnet(given, expand="")
        if not lexicon.lexicons():
            raise wn.Error("it has none at all")
        return _Installed(lexicon)
    except (wn.Error, OSError) as error:
        raise WorkError(
            f"{where}: wn has no such lexicon ({error}); get it: python -m wn download {given}. "
            "`python -m wn projects` lists what there is, and a file in WN-LMF will do, too"
        ) from error


class _Installed:
    """A lexicon in the folder of `wn`."""

    def __init__(self, lexicon: Any):
        self._lexicon, self._synsets = lexicon, {}

    def first_sense(self, noun: str) -> str | None:
        words = self._lexicon.words(noun, pos="n")
        words.sort(key=lambda word: word.lemma() != noun)  # "china" before "China"
        senses = [sense for word in words for sense in word.senses()]
        if not senses:
            return None
        synset = senses[0].synset()
        self._synsets[synset.id] = synset
        return synset.id

    def above(self, synset: str) -> list[str]:
        found = self._synsets[synset].get_related(*_ABOVE)
        self._synsets.update({each.id: each for each in found})
        return [each.id for each in found]


class _File:
    """A file in WN-LMF. It is read into memory, and nothing is written to the folder of `wn`."""

    def __init__(self, path: Path, where: str):
        self._first: dict[str, tuple[int, str]] = {}  # place of the sense, its synset
        self._above: dict[str, list[str]] = {}
        try:
            for lexicon in _lexicons(path):
                self._add(lexicon)
        except Exception as error:  # of the file's format, in as many classes as `wn` and XML have
            raise WorkError(
                f"{where}: isn't a wordnet in WN-LMF that can be read ({type(error).__name__}: {error})"
            ) from error
        if not self._first:
            raise WorkError(f"{where}: holds no noun; name a wordnet of English")

    def _add(self, lexicon: Any) -> None:
        for synset in lexicon.get("synsets", ()):
            relations = synset.get("relations", ())
            self._above[synset["id"]] = [r["target"] for r in relations if r["relType"] in _ABOVE]
        for entry in lexicon.get("entries", ()):
            if entry["lemma"]["partOfSpeech"] != "n" or not entry.get("senses"):
                continue
            # Where senses are numbered, the file's order says nothing.
            senses = sorted(entry["senses"], key=lambda sense: sense.get("n") or 0)
            forms = [entry["lemma"], *entry.get("forms", ())]
            for place, form in enumerate(forms):
                # Lemmas before other forms, proper names ("China") after words ("china").
                text = form["writtenForm"]
                rank = 2 * min(place, 1) + (text != text.lower())
                known = self._first.get(text.lower())
                if known is None or rank < known[0]:
                    self._first[text.lower()] = rank, senses[0]["synset"]

    def first_sense(self, noun: str) -> str | None:
        found = self._first.get(noun)
        return found[1] if found else None

    def above(self, synset: str) -> list[str]:
        return self._above.get(synset, [])


def _lexicons(path: Path) -> Iterator[Any]:
    from wn import lmf, project

    for package in project.iterpackages(path):
        yield from lmf.load(package.resource_file(), progress_handler=None)["lexicons"]


class Meanings:
    """What labels mean, by a wordnet.

    Args:
      wordnet: The wordnet.
      counts: Labels with how often they occur.
    """

    def __init__(self, wordnet: Wordnet, counts: Counter[str]):
        self._wordnet, self._counts = wordnet, counts
        self._senses = {label: wordnet.first_sense(read_name(label).noun) for label in counts}
        self._labels: dict[str, list[str]] = {}
        for label in sorted(counts, key=lambda label: (-counts[label], label)):
            if sense := self._senses[label]:
                self._labels.setdefault(sense, []).append(label)

    def same(self, label: str) -> str:
        """The most frequent label of the same sense, if it is before this one; else empty."""
        found = next(self._others(self._labels.get(self._sense(label), []), label), "")
        return found if found and self._before(found, label) else ""

    def wider(self, label: str) -> str:
        """The nearest label of which this one is a kind, the most frequent of those; else empty."""
        level, seen = [self._sense(label)], {self._sense(label)}
        while level:
            above = [each for sense in level if sense for each in self._wordnet.above(sense)]
            level = [each for each in dict.fromkeys(above) if each not in seen]
            seen.update(level)
            near = [other for sense in level for other in self._labels.get(sense, ())]
            if found := list(self._others(near, label)):
                return min(found, key=lambda other: (-self._counts[other], other))
        return ""

    def _sense(self, label: str) -> str:
        return self._senses.get(label) or ""

    def _before(self, a: str, b: str) -> bool:
        return (-self._counts[a], a) < (-self._counts[b], b)

    def _others(self, labels: Iterable[str], label: str) -> Iterator[str]:
        """Those that aren't the same noun: a plural is suggested as one."""
        noun = read_name(label).noun
        return (other for other in labels if read_name(other).noun != noun)
