"""`str.splitlines` also cuts at U+2028, U+0085, form feeds and others, inside of people's texts."""

import ast
from pathlib import Path

import scenarioclip_jax

PACKAGE = Path(scenarioclip_jax.__file__).parent
# Texts of ours or of a library, not of a user.
ALLOWED = {"__doc__", "hlo", "run.table", "str(error)", "str(error).strip()"}


def test_no_reader_of_users_files_uses_splitlines():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "splitlines":
                of = ast.unparse(node.value)
                if of not in ALLOWED:
                    found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {of}")
    assert not found
