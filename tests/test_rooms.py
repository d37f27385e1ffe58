"""Who may import whom: the table of the house, held against the code."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "scenarioclip_jax"
# Small modules that do one thing for everybody. They import no room.
SMALL = {
    *(
        "arrays",
        "command",
        "console",
        "drawing",
        "errors",
        "faults",
        "files",
        "json_values",
        "listening",
        "lock",
        "patches",
        "paths",
        "progress_bar",
    ),
    *("renamed", "rules", "shell", "stop_signals"),
}
# What each room imports, beside the small modules. A line that nothing needs any more fails, too.
TABLE = {
    "storage": set(),
    "data/stored": {"storage"},
    "data/build": {"data", "data/stored", "data/embedded", "storage"},
    "data/embedded": {"data/stored"},
    "data/packing": {"data", "data/stored", "words"},
    "data/device": {"data"},
    "data": {"data/stored", "data/packing"},
    "importers": {"data/build", "importers/sources", "importers/exports", "storage"},
    "importers/sources": {"data/build", "importers", "storage"},
    "importers/exports": {"data/build", "data/stored", "importers", "storage"},
    "annotate": {
        *("annotate/models", "annotate/review", "annotate/stages", "words"),
        *("data", "data/build", "data/stored"),
    },
    "annotate/review": {
        *("annotate", "annotate/stages", "words", "data", "data/build", "data/stored"),
    },
    "annotate/stages": {
        *("annotate", "annotate/models", "words", "data", "data/build", "data/stored"),
    },
    "annotate/models": {"annotate", "words", "data", "data/build", "data/stored", "importers"},
    "words": {"data/stored"},
    "models": {"data", "parallel"},
    "losses": set(),
    "parallel": set(),
    "costs": {"data", "losses", "models"},
    "aot": {"costs", "parallel", "train"},
    "train": {
        *("data", "data/build", "data/device", "data/packing", "data/stored", "models", "losses"),
        *("parallel", "costs", "checkpoint", "interop", "storage", "workdir", "orbax_setup"),
        *("evaluation/embed", "evaluation/score", "evaluation/report"),  # scores during training
    },
    # It copies `describe` and its detector into folders for PyTorch.
    "interop": {
        *("data", "data/stored", "models", "checkpoint", "storage", "describe"),
        "annotate/models",
    },
    "convert": {
        *("data", "models", "checkpoint", "interop", "storage", "describe"),
        "evaluation/report",  # scores for the card
    },
    "checkpoint": {"models", "orbax_setup"},
    "workdir": {"parallel", "storage"},
    "describe": {
        *("data", "data/stored", "inference", "loading", "storage"),
        *("annotate", "annotate/models"),
        *("evaluation", "data/build"),  # the data that a run names
    },
    "search": {
        "data",
        "describe",
        "inference",
        "loading",
        "models",
        "checkpoint",
        "evaluation/embed",
        "evaluation/report",
    },
    "demo": {"data", "data/embedded", "describe", "inference", "loading", "search"},
    "inference": {"describe", "data", "data/stored", "models", "parallel", "checkpoint"},
    "loading": {"inference", "describe", "data", "checkpoint", "interop"},
    "evaluation/embed": {
        *("data", "data/device", "data/packing", "data/stored", "models", "parallel", "inference"),
        *("evaluation", "evaluation/score", "evaluation/report"),
        "checkpoint",
    },
    "evaluation/score": {
        *("data", "data/packing", "data/stored", "models"),
        *("evaluation", "evaluation/embed", "evaluation/suites"),
    },
    "evaluation/suites": {
        "data",
        "data/stored",
        "words",
        "evaluation",
        "evaluation/embed",
        "evaluation/score",
    },
    "evaluation/report": {
        *("data", "data/device", "data/packing", "data/stored", "inference"),
        *("evaluation", "evaluation/embed", "evaluation/score"),
        "checkpoint",
    },
    "evaluation/compare": {"evaluation", "evaluation/report", "evaluation/score"},
    "evaluation/explain": {"data/device", "models", "inference", "evaluation/score"},
    "evaluation": {
        *("data", "data/build", "data/stored", "checkpoint", "storage", "workdir"),
        *("inference", "loading"),
        *("evaluation/embed", "evaluation/report", "evaluation/score", "evaluation/suites"),
    },
}
# Only the device room of `data` may: reading workers, importers and the build start without JAX.
JAX = ("jax", "jaxlib", "flax", "optax", "orbax")


def modules():
    """Every module of the package with its path in dots, but for the templates of exported folders."""
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        if parts[:2] != ("interop", "pytorch"):
            yield ".".join(parts), ast.parse(file.read_text(encoding="utf-8"))


def imported(tree: ast.Module):
    """What a module imports anywhere in it, in dots; of this package without its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("scenarioclip_jax.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inside = f"{node.module}.".removeprefix("scenarioclip_jax.").rstrip(".")
            if node.module.split(".")[0] != "scenarioclip_jax":
                yield node.module
                continue
            for alias in node.names:
                name = ".".join(part for part in (inside, alias.name) if part)
                path = PACKAGE.joinpath(*name.split("."))
                yield name if path.with_suffix(".py").is_file() or path.is_dir() else inside


def room_of(module: str) -> str | None:
    """The room of a module, or its name where it is a module beside the rooms; None outside of the package."""
    parts = module.split(".")
    for length in (2, 1):
        if (name := "/".join(parts[:length])) in TABLE:
            return name
    return parts[0] if (PACKAGE / f"{parts[0]}.py").is_file() else None


def test_rooms_import_what_the_table_says():
    found, by = defaultdict(set), defaultdict(set)
    for module, tree in modules():
        room = room_of(module)
        for target in filter(None, map(room_of, imported(tree))):
            if target != room and target not in SMALL:
                found[room].add(target)
                by[room, target].add(module)
    for room, allowed in TABLE.items():
        wrong = {target: sorted(by[room, target]) for target in found[room] - allowed}
        assert not wrong, f"{room} may not import {wrong}"
        assert not allowed - found[room], f"{room} imports no {allowed - found[room]} any more"


def test_small_modules_import_no_room():
    for module, tree in modules():
        if module in SMALL - {"lock"}:  # which asks for the process's number
            rooms = {room_of(name) for name in imported(tree)} & TABLE.keys()
            assert not rooms, f"{module} imports {rooms}"


@pytest.mark.parametrize(
    "room", [room for room in TABLE if room.startswith(("data", "importers", "annotate"))]
)
def test_only_the_device_room_of_data_imports_jax(room):
    names = {
        f"{module}: {name}"
        for module, tree in modules()
        if room_of(module) == room
        for name in imported(tree)
        if name.split(".")[0] in JAX or name == "arrays"
    }
    assert bool(names) == (room == "data/device"), names


def test_every_room_is_in_the_table():
    packages = {
        file.parent.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("__init__.py")
    }
    assert packages - {".", "interop/pytorch"} == {
        room for room in TABLE if (PACKAGE / room).is_dir()
    }
