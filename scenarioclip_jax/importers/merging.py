"""When two boxes of a photo are of one object."""

import argparse
from collections.abc import Callable

from scenarioclip_jax.data.build.participants import overlap
from scenarioclip_jax.importers.draft import Thing


def add_merge_flags(parser: argparse.ArgumentParser, any_name: float, same_name: float) -> None:
    """Adds the flags of `is_same`, with their defaults."""
    text = "boxes with {} are one object from this intersection over union on (default: %(default)s; 2: never)"
    parser.add_argument(
        "--merge-same-name-iou",
        type=float,
        default=same_name,
        metavar="IOU",
        help=text.format("the same name"),
    )
    parser.add_argument(
        "--merge-any-name-iou",
        type=float,
        default=any_name,
        metavar="IOU",
        help=text.format("different names"),
    )


def is_same(args: argparse.Namespace) -> Callable[[Thing, Thing], bool]:
    """Whether two objects are one, by the flags of `add_merge_flags`."""

    def same(a: Thing, b: Thing) -> bool:
        least = args.merge_same_name_iou if a.name == b.name else args.merge_any_name_iou
        return overlap(a.box, b.box) >= least

    return same
