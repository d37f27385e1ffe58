"""Flags to config to job.

python -m scenarioclip_jax.main --config=configs/pretrain.py[:PRESET] [--config.KEY=VALUE ...] [--workdir=DIR]
"""

import datetime
import os
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from scenarioclip_jax.train.config import ConfigError, compilation_cache, explain_unknown_key

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
    if CONFIG.value is None:
        raise app.UsageError("--config is missing; try --config=configs/pretrain.py")
    config = CONFIG.value
    # Chosen once and printed: whoever wants to resume has to know it.
    workdir = Path(WORKDIR.value or f"runs/{config.preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}")
    print(f"workdir: {workdir}", flush=True)
    compilation_cache(config)
    try:
        if config.job == "train":
            from scenarioclip_jax.train.loop import train

            train(config, workdir)
        else:
            raise ConfigError(f"config.job={config.job!r}: must be one of train")
    except ConfigError as error:
        sys.exit(f"error: {error}")


def run() -> None:
    logging.set_verbosity(logging.WARNING)
    # XLA's C++ logs would drown the progress lines; errors still show.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if message := explain_unknown_key(sys.argv[1:]):
        sys.exit(f"error: {message}")
    app.run(main)


if __name__ == "__main__":
    run()
