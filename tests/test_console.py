"""Lines on a terminal that went away or can't show every character."""

import ast
import io
import sys
from pathlib import Path

import pytest

from scenarioclip_jax import console
from scenarioclip_jax.console import say

PACKAGE = Path(console.__file__).parent
ITSELF = {"console.py", "__main__.py"}  # the latter lists the commands and does nothing else


class Gone(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_reader_that_went_away_is_told_once_and_again(monkeypatch, name):
    monkeypatch.setattr(sys, name, Gone())
    error = name == "stderr"
    assert "Broken pipe" in say("a", error=error)
    assert "Broken pipe" in say("b", error=error)
    print("what libraries print goes nowhere, too", file=getattr(sys, name), flush=True)
    assert say("c", error=not error) is None


def test_a_closed_stream_and_none(monkeypatch, tmp_path):
    closed = (tmp_path / "out").open("w")
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    assert "closed file" in say("a")
    monkeypatch.setattr(sys, "stdout", None)
    assert say("a") is None


def test_characters_that_a_terminal_lacks_are_escaped(monkeypatch):
    for encoding, shown in (
        ("ascii", "\\xe9 \\u72ac"),
        ("latin-1", "é \\u72ac"),
        ("utf-8", "é 犬"),
    ):
        bytes_ = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_, encoding=encoding))
        assert say("é 犬") is None
        assert bytes_.getvalue().decode(encoding) == shown + "\n"


def test_nothing_else_prints():
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if str(path.relative_to(PACKAGE)) not in ITSELF
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "traceback.print_exc")
    ]
    assert not found, f"use scenarioclip_jax.console.say: {found}"
