"""The command line: flags to config to job.

    python -m scenarioclip_jax.main --config=configs/pretrain.py[:PRESET] [--config.KEY=VALUE ...]
        [--workdir=DIR]

For several processes, see launch/README.md.
"""

import contextlib
import datetime
import itertools
import os
import sys
import traceback
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from scenarioclip_jax import command
from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.parallel import distributed
from scenarioclip_jax.paths import Address, PathError, local_path
from scenarioclip_jax.storage.bucket import check_address
from scenarioclip_jax.train.config import compilation_cache

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The job and its settings.", lock_config=True
)
MULTIHOST = flags.DEFINE_enum(
    "multihost",
    "auto",
    distributed.MULTIHOST,
    "Whether to join a job of several processes, see scenarioclip_jax/parallel/distributed.py and launch/.",
)
PLACE = (  # parallel.distributed.FLAGS
    flags.DEFINE_string(
        "coordinator-address",
        None,
        "HOST:PORT of the first process, for a job of several processes.",
    ),
    flags.DEFINE_integer("num-processes", None, "How many processes the job has.", lower_bound=1),
    flags.DEFINE_integer("process-id", None, "Which of them this one is, from 0.", lower_bound=0),
)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where checkpoints, metrics and the report go: a folder, gs://… or s3://…. A run whose workdir holds "
    "checkpoints goes on from the newest. Default: runs/PRESET-DATE-TIME.",
)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag; write --config.KEY=VALUE")
    config = CONFIG.value
    # Not imported at the top, because reading workers also start from this file and don't need it.
    import jax

    from scenarioclip_jax.data.stall import reading_hangs
    from scenarioclip_jax.train.loop import train
    from scenarioclip_jax.train.metrics import explaining_output
    from scenarioclip_jax.workdir import local_folder

    status, failed = 1, {}
    try:
        distributed.start(MULTIHOST.value, [flag.value for flag in PLACE])
        workdir = choose_workdir(config.preset, jax.process_count())
        if jax.process_index() == 0:
            say(f"workdir: {workdir}")
        with explaining_output(local_folder(str(workdir))):
            compilation_cache(config)
            if config.job == "train":
                train(config, str(workdir))
            elif config.job == "evaluate":
                from scenarioclip_jax.evaluation.job import evaluate

                failed = evaluate(config, str(workdir)).failed
            else:
                raise ConfigError(f"config.job={config.job!r}: must be one of train, evaluate")
        status = int(bool(failed))
    except ReadableError as error:
        say(f"error: {error}", error=True)
    except Exception:
        say(traceback.format_exc(), error=True)
    if reading_hangs():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # an ordinary exit would wait for the stuck thread
    if status:
        distributed.leave(status)
        sys.exit(status)


def choose_workdir(preset: str, processes: int) -> Path | Address:
    """Returns --workdir, or makes a new folder for a run of one process."""
    if WORKDIR.value:
        try:
            return check_address(WORKDIR.value) or local_path(WORKDIR.value)
        except PathError as error:
            raise ConfigError(f"--workdir={WORKDIR.value}: {error}") from None
    if processes > 1:
        raise ConfigError(
            "--workdir is missing: a job of several processes needs one that they all can write"
        )
    # The folder is printed, because resuming needs it, and made at once, so that runs that start in the same
    # second get different ones.
    name = f"{preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    for suffix in itertools.chain([""], (f"-{n}" for n in itertools.count(2))):
        folder = Path("runs", name + suffix)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError


def run() -> None:
    command.run(main)


if __name__ == "__main__":
    run()
