"""Drawn photos with their truth, and commands of the pipeline."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from scenarioclip_jax.annotate.command import main
from scenarioclip_jax.data.embedded.write import write_embedded

COUNT = 24


class Folder(NamedTuple):
    """Photos, their true annotations, and a place for a working folder."""

    truth: Path
    images: Path
    work: Path
    config: Path

    def run(self, *more: str, command: str = "run", code: int = 0) -> None:
        flags = ["--output", str(self.work)]
        if command not in ("assemble", "status", "retry"):
            flags += ["--images", str(self.images), "--config", str(self.config)]
        assert main([command, *flags, *more]) == code

    def configure(self, **stages: dict) -> None:
        # Pictures for the card take most of the time of a run.
        settings = {"truth": {"folder": str(self.truth)}, "assemble": {"examples": 0}}
        for name, values in stages.items():
            settings[name] = settings.get(name, {}) | values
        self.config.write_text(json.dumps(settings))  # which is YAML, too


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_embedded(folder, COUNT, seed=3)
    return folder


@pytest.fixture
def photos(drawn, tmp_path):
    """A copy of the drawn photos that a test may change."""
    shutil.copytree(drawn, tmp_path / "truth")
    found = Folder(
        tmp_path / "truth", tmp_path / "truth/images", tmp_path / "work", tmp_path / "annotate.yaml"
    )
    found.configure()
    return found
