"""A process of a job that writes global batches to a file, for `test_processes`: two steps from each first one.

python -m tests.train.global_batch DATA FILE FIRST_STEP,FIRST_STEP [flags as of main]
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from scenarioclip_jax.data.pipeline import train_iterator
from scenarioclip_jax.parallel import distributed
from scenarioclip_jax.parallel.mesh import local_groups, make_mesh, put_batch
from scenarioclip_jax.train.data import open_data
from tests.train import tiny


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("first")
    for flag in distributed.FLAGS:
        parser.add_argument(flag)
    args = parser.parse_args()
    distributed.start("auto", [vars(args)[name] for name in distributed.ARGUMENTS])

    # For a batch with all its fields, in an order that takes most to agree on.
    packed = {"model__patch_packing": True, "data__text_row_tokens": 24, "data__balance": True}
    config, mesh = tiny.config(args.data, data__packing_groups=8, **packed), make_mesh(data=4)
    data = open_data(config, args.file.parent)
    settings, groups = data.settings, local_groups(mesh, config.data.packing_groups)
    arrays = {}
    for first in map(int, args.first.split(",")):
        batches = train_iterator(data.train, data.tokenizer, settings, groups)
        batches.step = first
        for step in range(first, first + 2):
            batch = put_batch(mesh, next(batches), settings.packing_groups)
            named = {name: value for name, value in batch._asdict().items() if value is not None}
            for path, value in jax.tree_util.tree_leaves_with_path(named):
                name = f"{step}/{jax.tree_util.keystr(path, simple=True, separator='/')}"
                arrays[name] = multihost_utils.process_allgather(value, tiled=True)
        batches.close()
    if jax.process_index() == 0:
        np.savez(args.file, **arrays)
    distributed.wait_for_all("the batches are written")


if __name__ == "__main__":
    main()
