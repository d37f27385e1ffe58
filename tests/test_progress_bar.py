"""Progress in a log file: few whole lines, whatever the number of steps."""

import io
import re
import sys
from pathlib import Path

import pytest

from scenarioclip_jax import progress_bar as module
from scenarioclip_jax.progress_bar import progress_bar

PACKAGE = Path(module.__file__).parent


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass at each look at the clock."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_a_minute(clock, capsys):
    for _ in progress_bar(range(6000), "scenes"):
        clock[0] += 0.05  # five minutes in all
    written = capsys.readouterr().err
    lines = written.split("\n")[:-1]
    assert len(lines) in (4, 5)
    assert re.fullmatch(r"scenes: 1,\d{3}/6,000 \(2\d%\)", lines[0])
    assert "\r" not in written


def test_short_work_says_nothing(clock, capsys):
    with progress_bar(total=100, desc="pictures", unit="B", unit_scale=True, delay=1) as bar:
        for _ in range(100):
            bar.update(1)
    assert bar.n == 100
    assert capsys.readouterr().err == ""
    with progress_bar(total=2, desc="Building", unit=" scenes", say_end=True) as bar:
        bar.update(2)
    assert capsys.readouterr().err == "Building: 2/2 (100%) scenes\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(progress_bar(range(3), "scenes", mininterval=0)) == [0, 1, 2]
    assert "scenes: 100%" in sys.stderr.getvalue()


def test_no_other_module_draws_bars_of_its_own():
    users = [p.name for p in PACKAGE.rglob("*.py") if "import tqdm" in p.read_text("utf-8")]
    assert users == ["progress_bar.py"]
