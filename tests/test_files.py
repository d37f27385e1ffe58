"""Files are whole or not there."""

import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from scenarioclip_jax.files import json_text, write_text, write_whole


def test_json_holds_null_for_what_json_cannot_hold():
    values = {"a": [1, math.nan, (2.5, -math.inf)], "b": {"c": math.inf}, "d": "NaN", "e": True}
    text = json_text(values, indent=1)
    read = json.loads(text, parse_constant=pytest.fail)
    assert read == {"a": [1, None, [2.5, None]], "b": {"c": None}, "d": "NaN", "e": True}


def test_writing_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")

    def half(stream):
        stream.write(b"half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, half)
    (tmp_path / "folder" / "x").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_text(tmp_path / "folder", "a file can't replace a folder")
    assert path.read_text() == "old"
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", "folder"}


def test_folders_above_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "ü")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "ü".encode()


def test_a_full_disk_is_told_with_the_file(tmp_path):
    def full(stream):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space") as raised:
        write_whole(tmp_path / "a", full)
    assert raised.value.filename == str(tmp_path / "a")


def test_many_writers_leave_one_whole_file(tmp_path):
    path, contents = tmp_path / "a", [chr(97 + i) * 100_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(path, text), contents * 4))
    assert path.read_text() in contents
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("umask", ["022", "077"])
def test_the_users_mask_decides_who_may_read(tmp_path, umask):
    code = (
        "import os, pathlib, sys\nfrom scenarioclip_jax.files import write_text\n"
        f"os.umask(0o{umask})\nwrite_text(pathlib.Path(sys.argv[1]), 'x')"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a"], check=True)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~int(umask, 8)
