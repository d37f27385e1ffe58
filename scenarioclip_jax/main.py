"""Flags to config to job.

python -m scenarioclip_jax.main --config=configs/pretrain.py[:PRESET] [--config.KEY=VALUE ...] [--workdir=DIR]
"""

import datetime
import os
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from scenarioclip_jax.train.config import ConfigError, compilation_cache, explain_flags

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The job and its settings.", lock_config=True
)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where checkpoints, metrics and the report go. A run whose workdir holds checkpoints goes on from the "
    "newest. Default: runs/PRESET-DATE-TIME.",
)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag; write --config.KEY=VALUE")
    config = CONFIG.value
    # Chosen once and printed: whoever wants to resume has to know it.
    workdir = Path(WORKDIR.value or f"runs/{config.preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}")
    print(f"workdir: {workdir}", flush=True)
    # Not at the top: reading workers are started from this file too, and need none of it.
    from scenarioclip_jax.train.loop import READABLE_ERRORS, train

    try:
        compilation_cache(config)
        if config.job == "train":
            train(config, workdir)
        else:
            raise ConfigError(f"config.job={config.job!r}: must be one of train")
    except READABLE_ERRORS as error:
        sys.exit(f"error: {error}")


def run() -> None:
    logging.set_verbosity(logging.WARNING)
    # XLA's C++ logs would drown the progress lines; errors still show.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    wants_help = any(arg.lstrip("-").startswith("help") for arg in sys.argv[1:])
    if not wants_help and (message := explain_flags(sys.argv[1:])):
        sys.exit(f"error: {message}")
    app.run(main)


if __name__ == "__main__":
    run()
