"""One table of several evaluations, for a paper.

    python -m scenarioclip_jax.evaluation.compare NAME=FOLDER[,FOLDER …] [NAME=FOLDER …] --output DIR

FOLDER is the workdir of an evaluation (configs/evaluate.py), or FOLDER:COLUMN for another of its models than
the student, such as FOLDER:baseline. Several folders of one NAME are its seeds. Writes table.md, table.tex,
table.csv, compare.json and figure.svg: means with intervals, paired differences from the first system, ranks,
and what was scored how.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m scenarioclip_jax.evaluation.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("systems", nargs="+", metavar="NAME=FOLDER", help="its evaluations")
    parser.add_argument("--output", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--reference", help="NAME to compare with (default: the first)")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        help="zero_shot/global/top1, or the start of it; several times (default: the main ones)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap over photos")
    parser.add_argument("--draws", type=int, default=1000, help="its resamples")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    if args.draws < 1 or args.seed < 0:
        sys.exit("error: --draws must be 1 or more, and --seed 0 or more")
    from scenarioclip_jax.evaluation.compare.read import read_system
    from scenarioclip_jax.evaluation.compare.table import compare
    from scenarioclip_jax.evaluation.compare.write import markdown, write

    try:
        systems = [read_system(each) for each in args.systems]
        reference = args.reference or systems[0].name
        found = compare(
            systems, reference=reference, metrics=args.metric, seed=args.seed, draws=args.draws
        )
        write(found, args.output)
    except (ReadableError, OSError) as error:
        sys.exit(f"error: {error}")
    say(markdown(found).rstrip())
    say(f"tables: {args.output}")
