"""Will it fit? Compiles the train step for a TPU pod on a machine without one, and reports what it would take.

    python -m scenarioclip_jax.aot --config=configs/pretrain.py[:PRESET] --topology=v5e:16x16
        [--config.KEY=VALUE ...] [--json=FILE] [--largest-batch] [--quick]

No data or weights are read and no parameters are made, since the step is compiled from shapes. This needs
libtpu, the compiler, and a few minutes of CPU. It exits with status 1 if the step doesn't fit.
"""

import json
import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from scenarioclip_jax import command
from scenarioclip_jax.aot.environment import prepare_environment
from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "As for scenarioclip_jax.main; what tells where data and weights are isn't read.",
)
TOPOLOGY = flags.DEFINE_string(
    "topology", None, "The pod: generation and chips, such as v5e:16x16."
)
JSON = flags.DEFINE_string("json", None, "A file to write the figures to.")
LARGEST = flags.DEFINE_bool(
    "largest-batch", False, "Search the largest batch that fits instead of taking data.batch_size."
)
TRIALS = flags.DEFINE_integer("trials", 8, "Compilations that the search may take.", lower_bound=1)
QUICK = flags.DEFINE_bool(
    "quick",
    False,
    "Compile with the least effort: seconds instead of minutes, memory within a percent.",
)
FOCUS = flags.DEFINE_bool(
    "focus-images", False, "Plan for data whose focused regions are stored as pictures."
)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag; write --config.KEY=VALUE")
    # Not imported at the top, because JAX reads its environment on import.
    from scenarioclip_jax.aot import largest, plan, plan_text
    from scenarioclip_jax.aot.topology import TopologyError

    try:
        if not TOPOLOGY.value:
            raise TopologyError("--topology is missing; try --topology=v5e:16x16")
        if JSON.value:
            check_writable(Path(JSON.value))
        pod = plan.open_pod(TOPOLOGY.value, CONFIG.value)
        options = {"focus_images": FOCUS.value}
        if LARGEST.value:
            options |= {"confirm": not QUICK.value, "trials": TRIALS.value}
            report = largest.largest_batch(CONFIG.value, pod, **options)
        else:
            report = plan.plan(CONFIG.value, pod, quick=QUICK.value, **options)
    except (ReadableError, OSError) as error:
        sys.exit(f"error: {error}")
    say(plan_text.as_text(report))
    if JSON.value:
        Path(JSON.value).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if report["fits"] else 1)


def check_writable(path: Path) -> None:
    """Raises OSError if the file can't be written, before minutes are spent on compiling."""
    existed = path.exists()
    path.open("a", encoding="utf-8").close()
    if not existed:
        path.unlink()


if __name__ == "__main__":
    prepare_environment()
    command.run(main)
