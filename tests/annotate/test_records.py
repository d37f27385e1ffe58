"""Records are whole or absent, whatever ends the process that writes them, and one process writes a share."""

import json
import subprocess
import sys

import pytest

from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.records import Records, Writer, failure_line, result_line
from scenarioclip_jax.annotate.results import Failure
from scenarioclip_jax.annotate.shards import ALL, Shard, read_shard

TIMEOUT = Failure("timeout", "took 120 s")


def write(folder, *lines, shard=ALL):
    with Writer(folder, shard) as writer:
        for line in lines:
            writer.write(line)


def test_what_was_written_is_read_back(tmp_path):
    output = {"text": 'Straße "x"\n', "boxes": [[1, 2.5]]}
    write(tmp_path, result_line("a/ü.jpg", "k", output, {"by": "d"}))
    records = Records(tmp_path)
    entry = records.find("a/ü.jpg", "k")
    assert entry
    assert entry.done
    assert records.read(entry)["output"] == output
    assert records.find("a/ü.jpg", "other") is None, "another key's record counts"
    assert records.has_any("a/ü.jpg")


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_an_unfinished_line_is_ignored_then_cut_off(tmp_path, cut):
    write(tmp_path, result_line("a", "k", {"x": 1}, {}), result_line("b", "k", {"x": 2}, {}))
    (file,) = tmp_path.glob("*.jsonl")
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    file.write_bytes(whole[: first + cut])
    assert Records(tmp_path).find("a", "k")
    assert not Records(tmp_path).has_any("b")
    write(tmp_path, result_line("b", "k", {"x": 3}, {}))
    records = Records(tmp_path)
    assert not records.damaged
    entry = records.find("b", "k")
    assert entry
    assert records.read(entry)["output"] == {"x": 3}


def test_a_damaged_line_is_listed_and_costs_only_itself(tmp_path):
    write(tmp_path, *(result_line(id, "k", {}, {}) for id in "abc"))
    (file,) = tmp_path.glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    lines[1] = b"\0" * (len(lines[1]) - 1) + b"\n"
    file.write_bytes(b"".join(lines))
    records = Records(tmp_path)
    assert [records.has_any(id) for id in "abc"] == [True, False, True]
    assert records.damaged == [f"{file}:2"]


def test_a_result_counts_before_a_failure_and_the_last_failure_has_the_number(tmp_path):
    lines = [failure_line("a", "k", TIMEOUT, 1), failure_line("a", "k", TIMEOUT, 2)]
    write(tmp_path, *lines)
    entry = Records(tmp_path).find("a", "k")
    assert entry
    assert (entry.attempts, entry.kind) == (2, "timeout")
    # The order of lines and files says nothing: shares may change between runs.
    write(tmp_path, result_line("a", "k", {}, {}), shard=Shard(1, 3))
    for share in (Shard(0, 2), Shard(2, 3)):
        write(tmp_path, failure_line("a", "k", TIMEOUT, 3), shard=share)
    entry = Records(tmp_path).find("a", "k")
    assert entry
    assert entry.done


def test_forgiven_failures_have_all_their_attempts_again(tmp_path):
    write(tmp_path, *(failure_line("a", "k", TIMEOUT, n) for n in (1, 2, 3)))
    records = Records(tmp_path)
    entry = records.find("a", "k")
    assert entry
    assert not records.attempts_left("a", entry, 3)
    records.forgive([("a", entry)])
    records = Records(tmp_path)
    assert records.attempts_left("a", entry, 3)
    assert records.attempts_left("a", entry._replace(attempts=5), 3)
    assert not records.attempts_left("a", entry._replace(attempts=6), 3)


def in_another_process(folder, shard):
    code = (
        "import sys; from pathlib import Path; from scenarioclip_jax.annotate.records import *\n"
        "from scenarioclip_jax.annotate.line_files import *\n"
        "from scenarioclip_jax.annotate.shards import read_shard\n"
        "try: Writer(Path(sys.argv[1]), read_shard(sys.argv[2])); print('free')\n"
        "except WorkError as error: print(error)"
    )
    run = [sys.executable, "-c", code, str(folder), shard]
    return subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout


def test_one_process_a_share_and_one_division_at_a_time(tmp_path):
    with Writer(tmp_path, Shard(1, 4)):
        assert "another process runs this share" in in_another_process(tmp_path, "1/4")
        assert in_another_process(tmp_path, "2/4").strip() == "free"
        assert "in 4 shares now" in in_another_process(tmp_path, "0/2")
    assert in_another_process(tmp_path, "0/2").strip() == "free"


def test_shares_divide_all_photos():
    ids = [f"photo {number}.jpg" for number in range(1000)]
    counts = [sum(Shard(index, 7).has(id) for id in ids) for index in range(7)]
    assert sum(counts) == 1000
    assert min(counts) > 100
    assert all(ALL.has(id) for id in ids)


@pytest.mark.parametrize("text", ["4/4", "1", "-1/4", "1/0", "a/b", ""])
def test_a_share_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match="isn't a share such as 0/4"):
        read_shard(text)


def test_a_failed_start_leaves_the_share_free(tmp_path):
    (tmp_path / "0-of-1.jsonl").mkdir()
    with pytest.raises(OSError, match="0-of-1"):
        Writer(tmp_path, ALL)
    (tmp_path / "0-of-1.jsonl").rmdir()
    write(tmp_path, result_line("a", "k", {}, {}))
    assert json.loads((tmp_path / "0-of-1.jsonl").read_text())["id"] == "a"


def test_errors_name_the_folder(tmp_path):
    with Writer(tmp_path, ALL), pytest.raises(WorkError, match=str(tmp_path)):
        Writer(tmp_path, ALL)


def test_a_text_that_looks_like_an_output_is_no_output(tmp_path):
    id = 'a,"output":{} .jpg'
    write(tmp_path, result_line(id, "k", {"t": ',"output":'}, {}))
    records = Records(tmp_path)
    entry = records.find(id, "k")
    assert entry
    assert records.read(entry)["output"] == {"t": ',"output":'}


def test_damage_within_an_output_is_named_when_it_is_read(tmp_path):
    write(tmp_path, result_line("a", "k", {"text": "something long"}, {}))
    (file,) = tmp_path.glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b"something", b'some"hing'))
    records = Records(tmp_path)
    entry = records.find("a", "k")
    assert entry
    with pytest.raises(WorkError, match=r"0-of-1\.jsonl: the line at byte 0 is damaged"):
        records.read(entry)
