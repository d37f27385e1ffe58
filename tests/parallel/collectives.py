"""What a compiled program communicates, and how its parameters lie: the golden files of this folder.

    python -m tests.parallel.collectives

writes them anew, collectives for the minor version of JAX that runs it. Do that when the difference that
`test_golden.py` shows is wanted, and look at the diff.
"""

import json
import re
from collections import defaultdict
from pathlib import Path

import tests.conftest  # noqa: F401  simulated devices, before JAX is imported

import jax  # isort: skip
import numpy as np  # isort: skip

GOLDEN = Path(__file__).parent / "golden"
MESHES = ("8x1x1", "1x8x1", "2x2x2")
ARCH = "scenario_clip_1"
KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
BYTES = {"pred": 1, "u8": 1, "bf16": 2, "s32": 4, "u32": 4, "f32": 4}


def minor_version() -> str:
    return ".".join(jax.__version__.split(".")[:2])


def size(shape: str) -> int:
    """Bytes of a shape as HLO writes it: `f32[2,3]{1,0}`, or a tuple of such."""
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", shape)
    return sum(
        BYTES[t] * int(np.prod([int(n) for n in dims.split(",") if n])) for t, dims in arrays
    )


def computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    """Instructions by computation, and the name of the entry."""
    found, current, entry = {}, None, None
    for line in hlo.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if header:
            current = found.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif current is not None and " = " in line:
            current.append(line)
    return found, entry


def collectives(hlo: str) -> list[tuple[str, str, int, int]]:
    """(kind, shape, bytes, times a step) of each collective of a compiled program on one device.

    What stands in a loop counts as often as the loop turns.
    """
    bodies, entry = computations(hlo)
    found = []

    def visit(name: str, times: int) -> None:
        for line in bodies[name]:
            shape, operation = re.search(r" = (\(.*?\)|\S+) ([\w\-]+)\(", line).groups()
            if operation in KINDS:
                found.append((operation, shape, size(shape), times))
            elif operation == "while":
                turns = int(re.search(r'known_trip_count":\{"n":"(\d+)"', line)[1])
                visit(re.search(r"body=%?([\w.\-]+)", line)[1], times * turns)
            elif operation == "call":
                visit(re.search(r"to_apply=%?([\w.\-]+)", line)[1], times)

    visit(entry, 1)
    return found


def summary(hlo: str) -> dict[str, dict[str, int]]:
    """By kind: instructions in the program, and bytes that a device sends or receives in a step."""
    total = defaultdict(lambda: {"instructions": 0, "bytes": 0})
    for kind, _, bytes_, times in collectives(hlo):
        total[kind]["instructions"] += 1
        total[kind]["bytes"] += bytes_ * times
    return dict(sorted(total.items()))


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
