"""Pickles of plain values are read, and nothing in a pickle is ever called."""

import collections
import os
import pickle

import pytest

from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.plain_pickle import read_plain_pickle
from scenarioclip_jax.evaluation.records import Row


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_are_read(tmp_path, protocol):
    value = [{"a": 1, "b": [1.5, None, True], "c": ("ü", "x")}, 10**30]
    path = tmp_path / "a.p"
    path.write_bytes(pickle.dumps(value, protocol))
    digests = {}
    assert read_plain_pickle(path, digests) == value
    assert len(digests[str(path)]) == 64


def test_texts_of_python_2_are_read(tmp_path):
    path = tmp_path / "a.p"
    # cPickle.dumps([{'sent': 'caf\xc3\xa9', u'id': 7L}]) of Python 2: bytes of UTF-8, and a long
    path.write_bytes(b"(lp1\n(dp2\nS'sent'\np3\nS'caf\\xc3\\xa9'\np4\nsVid\np5\nL7L\nsa.")
    assert read_plain_pickle(path) == [{"sent": "café", "id": 7}]


def test_a_byte_that_is_no_text_spoils_its_text_only(tmp_path):
    path = tmp_path / "a.p"
    path.write_bytes(b"(lp1\nS'\\xff'\naS'b'\na.")
    spoiled, good = read_plain_pickle(path)
    assert good == "b"
    with pytest.raises(SuiteError, match="'sent' is"):
        Row({"sent": spoiled}, "a.p [0]").caption("sent")


class Program:
    def __init__(self, marker):
        self._marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self._marker,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_program_is_refused_and_not_run(tmp_path, protocol):
    path = tmp_path / "a.p"
    path.write_bytes(pickle.dumps([1, Program(tmp_path / "ran")], protocol))
    with pytest.raises(SuiteError, match=r"a\.p was refused: it names (posix|nt|os)\.mkdir"):
        read_plain_pickle(path)
    assert not (tmp_path / "ran").exists()


def test_even_harmless_classes_are_refused(tmp_path):
    path = tmp_path / "a.p"
    path.write_bytes(pickle.dumps(collections.OrderedDict(a=1)))
    with pytest.raises(SuiteError, match=r"names collections\.OrderedDict"):
        read_plain_pickle(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"\x80\x04]", b"<html></html>"])
def test_damaged_ones_are_named(tmp_path, content):
    path = tmp_path / "a.p"
    path.write_bytes(content)
    with pytest.raises(SuiteError, match=r"a\.p"):
        read_plain_pickle(path)
