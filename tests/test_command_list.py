"""`python -m scenarioclip_jax` names commands that exist, and the versions that they run on."""

import importlib.util
import subprocess
import sys

import scenarioclip_jax
from scenarioclip_jax.__main__ import COMMANDS


def test_every_command_exists():
    for command in COMMANDS:
        name = f"scenarioclip_jax.{command.split()[0]}"
        spec = importlib.util.find_spec(name)
        assert spec, name
        if spec.submodule_search_locations:  # a package is run by its __main__
            assert importlib.util.find_spec(f"{name}.__main__"), name


def test_versions_and_devices_are_told():
    done = subprocess.run(
        [sys.executable, "-m", "scenarioclip_jax"], capture_output=True, text=True, check=True
    )
    assert f"scenarioclip_jax {scenarioclip_jax.__version__}" in done.stdout
    assert "Devices: " in done.stdout
    assert all(command in done.stdout for command in COMMANDS)
