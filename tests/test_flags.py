"""Flags of all commands have dashes, and what they were called before is refused with the new name."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def defined(path):
    """The flags that a file defines, by absl or by argparse."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        texts = [
            argument.value
            for argument in node.args
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        ]
        if isinstance(node.func, ast.Attribute) and node.func.attr.startswith("DEFINE_"):
            yield texts[0]
        elif isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in ("add", "add_argument"):
                yield from (text for text in texts if text.startswith("--"))


def test_flags_have_dashes():
    folders = ("scenarioclip_jax", "benchmarks", "docs")
    flags = {
        (str(path.relative_to(ROOT)), flag)
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for flag in defined(path)
    }
    assert len(flags) > 200, "the test doesn't see the flags anymore"
    assert not [each for each in flags if "_" in each[1]]


def test_a_name_of_before_is_refused_with_the_new_one():
    command = [sys.executable, "-m", "scenarioclip_jax.main", "--config=configs/pretrain.py"]
    done = subprocess.run(
        [*command, "--num_processes=2"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "'num_processes'. Did you mean: num-processes" in done.stderr
