"""Suggestions by a wordnet: a made-up one of a few words, as a file and as a lexicon of `wn`."""

import csv
import gzip
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from scenarioclip_jax.annotate.command import main
from scenarioclip_jax.annotate.labels import write_table
from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.wordnet import Meanings, open_wordnet

FILE = Path(__file__).with_name("wordnet.xml")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The name of a lexicon that `wn` has, in a folder of its own."""
    import wn

    before = wn.config.data_directory
    wn.config.data_directory = tmp_path_factory.mktemp("wn")
    wn.add(FILE, progress_handler=None)
    yield "tiny:1"
    wn.config.data_directory = before


@pytest.fixture(params=["file", "name"])
def wordnet(request, installed):
    return open_wordnet(str(FILE) if request.param == "file" else installed, "--wordnet")


def suggestions(folder, wordnet, **counts):
    kinds = {"action": Counter(), "predicate": Counter(), "object": Counter()}
    kinds |= {kind: Counter(counted) for kind, counted in counts.items()}
    rows = list(csv.DictReader(write_table(folder, kinds, wordnet).open()))
    return {row["label"]: (row["suggestion"], row["why"]) for row in rows if row["suggestion"]}


def test_synonyms_are_merged_into_the_most_frequent_and_kinds_are_told_apart(tmp_path, wordnet):
    objects = {
        **{"couch": 9, "sofa": 3, "sofas": 1, "settee": 1, "bench": 2},
        **{"terrier": 4, "dog": 2, "dogs": 5, "animal": 1, "hound": 7},
        **{"traffic light": 2, "stoplight": 2, "zebra crossing": 3},
    }
    found = suggestions(tmp_path, wordnet, object=objects)
    same = "same meaning, by the wordnet"
    assert found == {
        "sofa": ("couch", same),
        "sofas": ("sofa", "plural"),
        "settee": ("bench", same),  # by the first sense, which the file doesn't have first
        "terrier": ("dogs", "more general: terrier is a kind of it, by the wordnet"),
        "dogs": ("animal", "more general: dogs is a kind of it, by the wordnet"),
        "dog": ("animal", "more general: dog is a kind of it, by the wordnet"),
        "traffic light": ("stoplight", same),
    }


def test_the_first_sense_counts_and_words_come_before_names(wordnet):
    assert wordnet.first_sense("settee") == "t-bench"
    assert wordnet.first_sense("china") == "t-porcelain"
    assert wordnet.first_sense("hound") is None, "it is a verb here"
    assert wordnet.first_sense("stoplight") == "t-light"
    assert wordnet.first_sense("zebra crossing") is None


def test_the_nearest_more_general_label_is_meant(wordnet):
    meanings = Meanings(wordnet, Counter({"terrier": 1, "animal": 9}))
    assert meanings.wider("terrier") == "animal"
    meanings = Meanings(wordnet, Counter({"terrier": 1, "animal": 9, "dog": 1}))
    assert meanings.wider("terrier") == "dog"
    assert meanings.wider("animal") == ""
    assert meanings.same("dog") == ""


def test_only_objects_are_looked_up_and_without_it_nothing_changes(tmp_path, wordnet):
    names = {"couch": 5, "sofa": 1, "dog": 3, "terrier": 1}
    counts = {"object": names, "action": names, "predicate": names}
    assert set(suggestions(tmp_path / "a", wordnet, **counts)) == {"sofa", "terrier"}
    rows = list(csv.DictReader((tmp_path / "a/labels.csv").open()))
    assert {row["kind"] for row in rows if row["suggestion"]} == {"object"}
    assert suggestions(tmp_path / "b", None, object={"couch": 9, "sofa": 3, "dogs": 1}) == {}


def test_a_ring_in_a_wordnet_ends():
    class Ring:
        def first_sense(self, noun):
            return {"a": "0"}.get(noun)

        def above(self, synset):
            return [str((int(synset) + 1) % 3)]

    assert Meanings(Ring(), Counter({"a": 1, "b": 1})).wider("a") == ""


def test_packed_files_are_read(tmp_path):
    with gzip.open(tmp_path / "tiny.xml.gz", "wb") as file:
        file.write(FILE.read_bytes())
    assert open_wordnet(str(tmp_path / "tiny.xml.gz"), "x").first_sense("sofa") == "t-sofa"


def test_what_cannot_be_had_is_said_with_a_remedy(tmp_path, installed, monkeypatch):
    def message(given):
        with pytest.raises(WorkError) as error:
            open_wordnet(given, "--wordnet")
        return str(error.value)

    assert re.match(
        r"--wordnet=oewn:2024: wn has no such .*wn download oewn:2024", message("oewn:2024")
    )
    with monkeypatch.context() as patched:
        patched.setattr("wn.config.data_directory", tmp_path / "empty")
        assert "wn has no such lexicon (it has none at all)" in message("*")
    assert "there is no such file" in message(str(tmp_path / "absent.xml"))
    assert "there is no such file" in message("a/b")
    (tmp_path / "other.xml").write_text("<html/>")
    assert "isn't a wordnet in WN-LMF" in message(str(tmp_path / "other.xml"))
    (tmp_path / "cut.xml").write_bytes(FILE.read_bytes()[:1500])
    assert "isn't a wordnet in WN-LMF" in message(str(tmp_path / "cut.xml"))
    text = FILE.read_text().replace('partOfSpeech="n"', 'partOfSpeech="v"')
    (tmp_path / "verbs.xml").write_text(text)
    assert "holds no noun" in message(str(tmp_path / "verbs.xml"))
    monkeypatch.setitem(sys.modules, "wn", None)
    assert "pip install 'scenarioclip_jax[annotate]'" in message("tiny:1")


def test_the_command_suggests_by_flag_and_by_setting(photos, capsys):
    photos.run()
    command = ["labels", "--output", str(photos.work)]
    assert main(command) == 0
    assert "python -m wn download oewn:2024" in capsys.readouterr().out
    assert main([*command, "--wordnet", str(FILE)]) == 0
    assert "wn download" not in capsys.readouterr().out
    photos.configure(labels={"wordnet": "absent.xml"})
    photos.run()
    assert main(command) == 1
    assert "labels.wordnet=absent.xml" in capsys.readouterr().err
