"""Asks about buckets, for launchers: `python -m scenarioclip_jax.storage exists gs://BUCKET/OBJECT`.

Exit status: 0 if the object or folder is there, 1 if not, 2 if that can't be told.
"""

import argparse
import sys
from collections.abc import Sequence

from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.paths import local_path
from scenarioclip_jax.storage.bucket import Bucket, check_address


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m scenarioclip_jax.storage", description=(__doc__ or "").partition("\n")[0]
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    exists = commands.add_parser("exists", help="whether an object, file or folder is there")
    exists.add_argument("path", metavar="PATH", help="address or local path")
    args = parser.parse_args(arguments)
    try:
        address = check_address(args.path)
        there = bool(Bucket(address).list()) if address else local_path(args.path).exists()
    except ReadableError as error:
        say(f"error: {error}", error=True)
        return 2
    return 0 if there else 1


if __name__ == "__main__":
    sys.exit(main())
