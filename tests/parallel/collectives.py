"""What a compiled program communicates, and how its parameters lie: the golden files of this folder.

    python -m tests.parallel.collectives

writes them anew, collectives for the minor version of JAX that runs it. Do that when the difference that
the tests show is wanted, and look at the diff.
"""

import json
from pathlib import Path

import tests.conftest  # noqa: F401  simulated devices, before JAX is imported

import jax  # isort: skip

from scenarioclip_jax.costs.collectives import summary  # isort: skip

GOLDEN = Path(__file__).parent / "golden"
MESHES = ("8x1x1", "1x8x1", "2x2x2")
ARCH = "scenario_clip_1"


def minor_version() -> str:
    return ".".join(jax.__version__.split(".")[:2])


def step_collectives(mesh: str) -> dict[str, dict[str, int]]:
    from tests.parallel import programs

    return summary(programs.program(ARCH, mesh).step.as_text())


def partitions() -> dict[str, str]:
    """How each parameter of the preset `vitb32` lies on 2 x 2 x 2 devices."""
    import runpy

    from flax import nnx

    from scenarioclip_jax.models import params as parameters
    from scenarioclip_jax.models.scenario_clip import ScenarioCLIP
    from scenarioclip_jax.parallel.sharding import parameter_specs
    from scenarioclip_jax.train.config import model_arguments
    from tests.parallel import programs
    from tests.train import tiny

    config = runpy.run_path(str(tiny.CONFIG))["get_config"]("vitb32")
    arguments = model_arguments(config)
    _, shapes = parameters.abstract(lambda: ScenarioCLIP(**arguments, rngs=nnx.Rngs(0)))
    specs = parameter_specs(shapes, programs.mesh_of("2x2x2"))
    return {path: ", ".join(str(axis or "-") for axis in specs[path]) for path in sorted(specs)}


def read(name: str):
    path = GOLDEN / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def write(name: str, value) -> None:
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / f"{name}.json").write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write("partitions", partitions())
    measured = {mesh: step_collectives(mesh) for mesh in MESHES}
    write("collectives", read("collectives") | {minor_version(): measured})
