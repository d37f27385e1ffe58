"""The guide's commands are ones that the importers' parser takes, and it has every source and flag."""

import re
from pathlib import Path

import pytest

from scenarioclip_jax.importers import command, exports, sources
from scenarioclip_jax.importers.source import found_in
from tests.test_documents import commands

GUIDE = Path(__file__).parents[2] / "docs/guides/import.md"
TEXT = GUIDE.read_text()
COMMANDS = [words[1:] for words in commands(TEXT) if words[0] == "scenarioclip_jax.importers"]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_taken(words):
    command.parser().parse_args(words)


def test_every_source_and_export_is_explained():
    known = {each.name for each in found_in(sources, "SOURCE") + found_in(exports, "EXPORT")}
    assert {words[0] for words in COMMANDS} == known


def test_every_flag_in_the_text_exists(capsys):
    known = ""
    for each in found_in(sources, "SOURCE") + found_in(exports, "EXPORT"):
        with pytest.raises(SystemExit):
            command.main([each.name, "--help"])
        known += capsys.readouterr().out
    flags = set(re.findall(r"`(--[a-z-]+)", TEXT)) - {"--box-units"}  # which is the build's
    assert len(flags) > 15
    assert not {flag for flag in flags if not re.search(rf"{flag}\b", known)}
