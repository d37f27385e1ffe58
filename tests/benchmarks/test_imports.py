"""Benchmarks take hours, so nothing runs them all; importing them tells whether they still fit the package."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if path.stem != "__init__"
)


@pytest.mark.parametrize("module", MODULES)
def test_a_benchmark_finds_what_it_measures(module):
    assert importlib.import_module(module).__doc__
