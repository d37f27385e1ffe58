"""Builds on Apache Beam's local runner: what they make, and how they fail.

They need the extra `beam`, which would hold other libraries back in the environment of all tests. `.ci/run`
installs it afterwards, sets REQUIRE_BEAM, and runs this file.
"""

import json
import os
from pathlib import Path

import pytest

if not os.environ.get("REQUIRE_BEAM"):
    pytest.importorskip("apache_beam", reason="the extra `beam` isn't installed")

from scenarioclip_jax.data.build import beam, command
from scenarioclip_jax.data.build.dataset import KEPT
from scenarioclip_jax.data.build.pool import LostProcessError
from scenarioclip_jax.data.stored import shards
from tests.data.builder_inputs import record, write_root
from tests.test_documents import named_commands

PROCESSES = ("--runner=FnApiRunner", "--direct_running_mode=multi_processing")
PROCESSES += ("--direct_num_workers=2",)
ONE = ("--runner=FnApiRunner",)


def run(root, output, *flags) -> int:
    return command.main([f"--metadata={root}", f"--output={output}", "--num-shards=2", *flags])


def files(output: Path) -> dict[str, bytes]:
    folder = shards.dataset_dir(output)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two chunks of records, among them a photo that two scenes share, and one that is missing."""
    records = [record(f"r{i}", action=f"action {i % 7}") for i in range(70)]
    folder = write_root(tmp_path_factory.mktemp("beam") / "root", *records)
    images = sorted((folder / "images").iterdir())
    images[1].write_bytes(images[0].read_bytes())
    images[2].unlink()
    return folder


@pytest.mark.slow  # worker processes import everything: 20 s
def test_workers_of_beam_build_the_same_bytes(root, tmp_path, capsys, monkeypatch):
    assert run(root, tmp_path / "here", "--workers=1") == 0
    here = capsys.readouterr().out.replace("here", "OUT")
    monkeypatch.chdir(root.parent)  # relative paths mean the same to workers
    assert run("root", os.path.relpath(tmp_path / "there"), *PROCESSES) == 0
    there = files(tmp_path / "there")
    expected = files(tmp_path / "here")
    assert there.keys() == expected.keys()
    summaries = [json.loads(each.pop("summary.json")) for each in (there, expected)]
    assert [summary.pop("source") for summary in summaries] == [{"metadata": str(root)}] * 2
    assert summaries[0] == summaries[1]
    assert there == expected
    assert "shared_photos.json" in there
    assert [path.name for path in (tmp_path / "there").iterdir() if path.is_dir()] == [shards.NAME]
    assert (
        here.splitlines()[-1]
        == capsys.readouterr()
        .out.replace(os.path.relpath(tmp_path / "there"), str(tmp_path / "OUT"))
        .splitlines()[-1]
    )


def test_an_error_of_the_data_is_told_as_here(tmp_path, capsys):
    few = write_root(tmp_path / "root", record("r0"), record("r1"))
    (few / "images" / "r1.jpg").unlink()
    assert run(few, tmp_path / "here", "--strict", "--workers=1") == 1
    here = capsys.readouterr().err
    assert run(few, tmp_path / "there", "--strict", *ONE) == 1
    assert capsys.readouterr().err == here
    assert "images/r1.jpg" in here
    assert not list((tmp_path / "there").glob(".unfinished*"))


def test_a_failed_pipeline_keeps_what_is_done(root, tmp_path, capsys, monkeypatch):
    expected = tmp_path / "expected"
    assert run(root, expected, "--workers=1") == 0
    whole = beam._call
    monkeypatch.setattr(beam, "_call", fail_at_second)
    assert run(root, tmp_path / "out", *ONE) == 1
    error = capsys.readouterr().err
    assert "the Beam pipeline failed" in error
    assert "Stale file handle" in error
    assert "Start the same command again" in error
    assert len(list((tmp_path / "out").glob(f"{KEPT}*/*.array_record"))) == 1
    monkeypatch.setattr(beam, "_call", whole)
    assert run(root, tmp_path / "out", *ONE) == 0
    assert "records were done before" in capsys.readouterr().err
    assert {k: v for k, v in files(tmp_path / "out").items() if k != "summary.json"} == {
        k: v for k, v in files(expected).items() if k != "summary.json"
    }


def fail_at_second(number: int, folder: str) -> None:
    if number == 1:
        raise OSError(116, "Stale file handle")
    original(number, folder)


original = beam._call


def test_a_second_attempt_at_a_call_does_no_harm(tmp_path):
    beam._write(tmp_path / "000000.arguments", (divmod, (7, 2)))
    beam._call(0, str(tmp_path))
    first = (tmp_path / "000000.result").stat().st_mtime_ns
    beam._call(0, str(tmp_path))
    assert (tmp_path / "000000.result").stat().st_mtime_ns == first


def test_results_come_in_order(tmp_path):
    pool = beam.BeamPool(ONE, tmp_path / "calls")
    assert list(pool(divmod, [(n, 3) for n in range(9)], 9)) == [divmod(n, 3) for n in range(9)]
    with pytest.raises(ValueError, match="invalid literal"):
        list(pool(int, [("4",), ("four",)], 2))
    with pytest.raises(LostProcessError, match="divmod expected 2 arguments"):
        list(pool(divmod, [(1,)], 1))
    assert not (tmp_path / "calls").exists()


def test_documented_flags_are_beams():
    commands = [words for _, words in named_commands() if any("--runner" in w for w in words)]
    assert len(commands) >= 2
    for words in commands:
        args, others = command._parser().parse_known_args(words[1:])
        assert beam._parsed([f"--runner={args.runner}", *others])


def test_flags_are_checked(root, tmp_path, capsys):
    assert run(root, tmp_path / "out", *ONE, "--max-sidee=3") == 1
    assert (
        "--max-sidee: neither a flag of this command nor one of Beam's" in capsys.readouterr().err
    )
    assert run(root, tmp_path / "out", *ONE, "--direct_num_workers=two") == 1
    assert "argument --direct_num_workers: invalid int value: 'two'" in capsys.readouterr().err
    for flags, message in (
        ((*ONE, "--workers=2"), "--workers means nothing together with --runner"),
        (("--direct_num_workers=2",), "unrecognized arguments: --direct_num_workers=2"),
    ):
        with pytest.raises(SystemExit):
            run(root, tmp_path / "out", *flags)
        assert message in capsys.readouterr().err
