"""What `pytest -m "not slow"` still tests: some of every room."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOMS = sorted({file.parent for file in TESTS.rglob("test_*.py")})
STARTED = (
    "harness",
    "review",
)  # what these test is a program or a browser that takes long to start
LEAST = 3


def is_slow(node: ast.AST) -> bool:
    """Whether a decorator, or what `pytestmark` is set to, marks all of it slow."""
    return any(ast.unparse(each) == "pytest.mark.slow" for each in ast.walk(node)) and not any(
        isinstance(each, ast.Attribute) and each.attr == "param" for each in ast.walk(node)
    )


def quick(file: Path) -> list[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    marks = [each for each in tree.body if isinstance(each, ast.Assign)]
    if any(ast.unparse(each.targets[0]) == "pytestmark" and is_slow(each.value) for each in marks):
        return []
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not any(is_slow(each) for each in node.decorator_list)
    ]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(TESTS)))
def test_every_room_has_quick_tests(room):
    found = [name for file in room.glob("test_*.py") for name in quick(file)]
    assert len(found) >= (1 if room.name in STARTED else LEAST), f"{room} has only slow tests"
