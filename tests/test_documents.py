"""README, guides and docstrings of configs name only commands, settings, files and links that exist."""

import ast
import importlib.util
import re
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from configs import evaluate, finetune, pretrain
from scenarioclip_jax import command
from scenarioclip_jax.renamed import new_name

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "scenarioclip_jax"
DOCUMENTS = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *ROOT.glob("launch/*.md"),
        *ROOT.glob("benchmarks/*.md"),
        *ROOT.glob("docs/**/*.md"),
    ]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SETTING = re.compile(r"(?:--config\.)?([a-z_]+(?:\.[a-z_0-9]+)*)(?:=.*)?")
FILE = re.compile(r"[\w.-]+/(?:[\w.-]+/)*(?:[\w-]+\.\w+)?")
SUFFIXES = (".html", ".json", ".py", ".yaml", ".yml", ".safetensors")
# Written by a run or by its user, so not in the repository.
NOT_HERE = ("checkpoints", "exports", "images", "focus", "runs", "tensorboard", "data/embedded")


def commands(text: str) -> list[list[str]]:
    """The words of every `python -m` command; continued lines are joined."""
    text = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"\bpython -m ([a-z][\w.]+(?:[^`\n&]*))", text)
    # What a launcher starts.
    for launcher, arguments in re.findall(r"\blaunch/(\w+)\.sh [^`\n]* -- ([^`\n]*)", text):
        module = "annotate run" if launcher.startswith("annotate") else "main"
        found.append(f"scenarioclip_jax.{module} {arguments}")
    # Brackets mark what may be left out; an ellipsis what isn't told.
    return [shlex.split(re.sub(r"[\[\]]|…|\.\.\.", " ", line), comments=True) for line in found]


def named_commands() -> list[tuple[str, list[str]]]:
    texts = {document.relative_to(ROOT).as_posix(): document.read_text() for document in DOCUMENTS}
    configs = {"pretrain": pretrain, "finetune": finetune, "evaluate": evaluate}
    texts |= {f"configs/{name}.py": module.__doc__ for name, module in configs.items()}
    return [(name, words) for name, text in texts.items() for words in commands(text)]


def exists(module: str) -> bool:
    """Whether `python -m MODULE` runs something."""
    try:
        spec = importlib.util.find_spec(module)
        if spec and spec.submodule_search_locations:
            spec = importlib.util.find_spec(f"{module}.__main__")
    except ModuleNotFoundError:
        return False
    return spec is not None


def flags_of(module: str) -> set[str]:
    """The long flags that a module's source defines, by argparse or absl."""
    spec = importlib.util.find_spec(module)
    if spec.submodule_search_locations:
        spec = importlib.util.find_spec(f"{module}.__main__")
    source = Path(spec.origin).read_text()
    folder = Path(
        spec.origin
    ).parent  # of a package that is a command; its subcommands have modules of their own
    if spec.name.endswith("__main__"):
        beside = [folder / "command.py", *folder.glob("sources/*.py"), *folder.glob("exports/*.py")]
        beside += [*folder.glob("merging.py"), *folder.glob("*_command.py")]
        source += "".join(path.read_text() for path in beside if path.is_file())
    found = re.findall(r"""(?:DEFINE_\w+\(|add_argument\(|\badd\()\s*["'](?:--)?([\w-]+)""", source)
    return {*found, "help"}


def test_the_readme_is_short():
    lines = len((ROOT / "README.md").read_text().splitlines())
    assert lines <= 150, f"README.md has {lines} lines; what doesn't fit into 150 belongs in docs/"


def test_commands_are_found():
    """So that a change of how they are written can't make the tests below look at nothing."""
    assert len(named_commands()) > 40
    assert {words[0] for _, words in named_commands()} >= {
        "scenarioclip_jax",
        "scenarioclip_jax.main",
        "scenarioclip_jax.data.build",
        "scenarioclip_jax.convert",
        "scenarioclip_jax.aot",
        "benchmarks.learning",
    }


def test_every_command_exists():
    missing = [f"{where}: {words[0]}" for where, words in named_commands() if not exists(words[0])]
    assert not missing


OF_BEAM = {"parallelism", "project", "region"}


def test_every_flag_of_a_command_exists():
    unknown = []
    for where, (module, *words) in named_commands():
        if not module.startswith(("scenarioclip_jax", "benchmarks")):
            continue
        flags = {word.split("=")[0][2:] for word in words if re.match(r"--[a-z]", word)}
        flags = {flag.removeprefix("no") for flag in flags if not flag.startswith("config.")}
        if "runner" in flags:  # Apache Beam's own, which tests/data/build/test_beam.py looks up
            flags = {flag for flag in flags if "_" not in flag} - OF_BEAM
        unknown += [f"{where}: {module} has no --{f}" for f in flags - flags_of(module)]
    assert not unknown


def test_every_setting_of_a_command_exists(monkeypatch):
    monkeypatch.chdir(ROOT)
    wrong = []
    for where, words in named_commands():
        if not any(word.startswith("--config.") for word in words):
            continue
        # A command that takes only overrides passes them on to the demo.
        given = any(word.startswith("--config=") for word in words)
        argv = [*words, *([] if given else ["--config=configs/pretrain.py"])]
        argv = [re.sub(":(PRESET|TASK)", "", word) for word in argv if "config.KEY" not in word]
        argv = [re.sub("=N$", "=1", word) for word in argv]  # a number of the reader's
        if message := command.explain_flags(argv):
            wrong.append(f"{where}: {message}")
    assert not wrong


def settings() -> tuple[set[str], set[str]]:
    """All keys of all configs, with their sections, and the names of the sections."""
    configs = [pretrain.get_config(preset) for preset in pretrain.PRESETS]
    configs += [finetune.get_config(task) for task in finetune.TASKS]
    configs.append(evaluate.get_config())
    keys = set()

    def walk(node, prefix=""):
        for name in node:
            keys.add(prefix + name)
            if hasattr(node.get_ref(name).get(), "get_ref"):
                walk(node[name], f"{prefix}{name}.")

    for config in configs:
        walk(config)
    return keys, {key.partition(".")[0] for key in keys if "." in key}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_setting_in_the_text_exists(document):
    keys, sections = settings()
    unknown = []
    for code in CODE.findall(FENCE.sub("", document.read_text())):
        match = SETTING.fullmatch(code.removesuffix(".*"))
        if not match:
            continue
        name = match[1].removeprefix("config.")
        if code.endswith(SUFFIXES):
            continue
        looks_like_one = code.startswith(("--config.", "config.")) or (
            name.partition(".")[0] in sections and "." in name
        )
        # `data.device.views` may be a module as well as a key.
        if document.name == "CHANGELOG.md" and new_name(name):
            continue  # what it was called before
        if looks_like_one and name not in keys and not exists_in_package(name):
            unknown.append(code)
    assert not unknown


def exists_in_package(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    """Within the repository. Anchors, and links between pages of the site, are the builder's to check."""
    broken = []
    for address in LINK.findall(FENCE.sub("", document.read_text())):
        parts = urlsplit(address)
        if parts.scheme or not parts.path:
            continue
        if not (document.parent / unquote(parts.path)).exists():
            broken.append(address)
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_in_the_text_exists(document):
    """Paths are those of the repository or of the package, such as `train/loop.py`."""
    missing = []
    for code in CODE.findall(FENCE.sub("", document.read_text())):
        placeholder = code.partition("/")[0].isupper()
        if not FILE.fullmatch(code) or code.startswith(NOT_HERE) or placeholder:
            continue
        folders = (ROOT, PACKAGE, document.parent, ROOT / "benchmarks")
        if not any((folder / code).exists() for folder in folders):
            missing.append(code)
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_in_the_text_is_python(document):
    wrong = []
    for language, code in FENCE.findall(document.read_text()):
        if language == "python":
            try:
                ast.parse(code)
            except SyntaxError as error:
                wrong.append(f"{error}: {code[:80]}")
    assert not wrong


def pages(entry) -> list[str]:
    """The pages of a part of the navigation."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in pages(part)]


def test_the_navigation_has_every_page():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    there = [path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")]
    assert sorted(pages(site["nav"])) == sorted(there)


def test_the_reference_has_every_module():
    """A package brings its modules along (`show_submodules`)."""
    text = "\n".join(path.read_text() for path in ROOT.glob("docs/reference/*.md"))
    shown = set(re.findall(r"^::: scenarioclip_jax\.([\w.]+)$", text, re.MULTILINE))
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert shown == modules | packages
