"""Makes copies of this package's modules that work in a folder for PyTorch, where this package isn't installed.

All modules of such a folder lie side by side, and Transformers finds only those that are imported by
`from .name import …`. It refuses a folder whose modules import something that isn't installed, unless they try.
"""

import ast
import importlib.util

PACKAGE = "scenarioclip_jax"
# Only pictures of scene graphs need it; `SceneGraph.draw` says so if it is missing.
OPTIONAL = ("matplotlib",)


def portable(source: str) -> str:
    """Rewrites the imports of a module.

    Those of this package become relative, those of jaxtyping are left out, as annotations aren't evaluated, and
    those of OPTIONAL are tried.

    Raises:
      ValueError: A module of this package is imported in another form than `from module import names`.
    """
    # Python ends lines there only, and texts in modules may hold other ends of lines.
    tree, lines = ast.parse(source), source.split("\n")
    for node in sorted(_imports(tree), key=lambda node: -node.lineno):
        assert node.end_lineno is not None  # as in all code that was parsed
        here = slice(node.lineno - 1, node.end_lineno)
        lines[here] = _rewritten(node, lines[here])
    if "jaxtyping" in source:
        # Annotations name types of jaxtyping.
        body = tree.body
        start = body[0].end_lineno if ast.get_docstring(tree) is not None else 0
        lines[start:start] = ["", "from __future__ import annotations"]
    return "\n".join(lines)


def _imports(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    """The imports, but for those of what is OPTIONAL that are tried already."""
    tried = {
        statement
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        for statement in node.body
        if isinstance(statement, ast.Import) and statement.names[0].name in OPTIONAL
    }
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return [node for node in found if node not in tried]


def _rewritten(node: ast.Import | ast.ImportFrom, lines: list[str]) -> list[str]:
    indent, text = " " * node.col_offset, ast.unparse(node)
    if isinstance(node, ast.Import):
        where = node.names[0].name
    else:
        where = "." * node.level + (node.module or "")
    root, last = where.partition(".")[0], where.rpartition(".")[2]
    if root == PACKAGE:
        if isinstance(node, ast.Import) or _is_package(where):
            raise ValueError(f"line {node.lineno}: {text}: import names from a module of {PACKAGE}")
        return [indent + text.replace(f"from {where} import", f"from .{last} import")]
    if root == "jaxtyping":
        return []
    if root in OPTIONAL:
        return [
            f"{indent}try:",
            f"{indent}    {text}",
            f"{indent}except ImportError:",
            f"{indent}    pass",
        ]
    return lines


def _is_package(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.submodule_search_locations is not None
