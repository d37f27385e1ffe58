"""Imports a data set into metadata that can be built and trained on, or exports such metadata.

    python -m scenarioclip_jax.importers coco --instances FILE --captions FILE --images DIR --output DIR
    python -m scenarioclip_jax.importers export-coco --metadata DIR --output FILE

`--help` lists the sources; `SOURCE --help` explains the flags of one.
"""

import argparse
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.importers import exports, metadata, sources
from scenarioclip_jax.importers.output import (
    BY_ID,
    METADATA,
    PHOTOS,
    PROBLEMS,
    SUMMARY,
    Output,
    check_there,
    publish,
    writing,
)
from scenarioclip_jax.importers.source import Export, Run, Source, SourceError, found_in
from scenarioclip_jax.paths import as_given, local_path
from scenarioclip_jax.shell import to_paste
from scenarioclip_jax.stop_signals import Stopped, stop_signals
from scenarioclip_jax.storage.bucket import Bucket, check_address
from scenarioclip_jax.storage.cache import local_copy
from scenarioclip_jax.storage.output import spool

_WIDTH = 200  # of an example


def parser() -> argparse.ArgumentParser:
    """The command line, with a subcommand for each source and each export."""
    parser = argparse.ArgumentParser(
        prog="python -m scenarioclip_jax.importers", description=(__doc__ or "").partition("\n")[0]
    )
    commands = parser.add_subparsers(required=True, metavar="SOURCE", dest="source")
    for source in found_in(sources, "SOURCE"):
        own = commands.add_parser(source.name, help=source.purpose, description=source.purpose)
        own.set_defaults(command=source)
        source.add_flags(own)
        own.add_argument("--output", required=True, help="folder that the metadata goes to")
        own.add_argument(
            "--images", metavar="DIR", help="folder of the photos, if they are there already"
        )
        own.add_argument(
            "--split",
            choices=("train", "validation", "test"),
            help="the split of all photos (default: what the source says)",
        )
        own.add_argument("--overwrite", action="store_true", help="replace an import that is there")
    for export in found_in(exports, "EXPORT"):
        own = commands.add_parser(export.name, help=export.purpose, description=export.purpose)
        own.set_defaults(command=export)
        own.add_argument(
            "--metadata", required=True, metavar="DIR", help="folder of metadata*.json"
        )
        own.add_argument("--output", required=True, metavar="FILE", help="where the result goes")
        own.add_argument(
            "--images",
            metavar="DIR",
            help="folder of the photos, for sizes that the metadata lacks",
        )
        own.add_argument(
            "--split",
            choices=("train", "validation", "test"),
            help="only records that say that they are of this split (default: all records)",
        )
        own.add_argument("--overwrite", action="store_true", help="replace a file that is there")
        export.add_flags(own)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    args = parser().parse_args(arguments)
    try:
        for value in vars(args).values():
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, str):
                    check_address(each)
        with stop_signals() as stopping:
            if isinstance(args.command, Source):
                told = _import(args.command, args, stopping.finish)
            else:
                told = _export(args.command, args, stopping.finish)
    except sqlite3.Error as error:
        say(
            f"error: a temporary file in {args.output} can't be written ({error}); it needs about as much room "
            "as the annotations. Make room, or name a folder on another disk",
            error=True,
        )
        return 1
    except (ValueError, OSError, ReadableError) as error:  # SourceError is a ValueError
        say(f"error: {error}", error=True)
        return 1
    except Stopped as stop:
        say(f"\nstopped; nothing was written to {args.output}", error=True)
        return stop.exit_code
    say(told)
    return 0


def _import(source: Source, args: argparse.Namespace, finish: Callable[[], None]) -> str:
    """Runs an import; returns the summary as text."""
    started, address = time.monotonic(), check_address(args.output)
    folder = local_path(args.output) if address is None else spool(address)
    if address is not None:
        check_there(address, args.overwrite)
    images = local_copy(args.images) if args.images else None
    if images and not images.is_dir():
        raise SourceError(
            f"--images={images} isn't a folder; name the folder of the photos, or leave it out"
        )
    run: Run | None = None

    def summary(output: Output) -> dict[str, Any]:
        return {
            "source": source.name,
            "arguments": _given(args),
            "files": run.files if run else [],
            "counts": dict(output.counts),
            "splits": dict(output.splits),
            "problems": output.problems.counts(),
            "build_flags": run.build_flags if run else [],
            "seconds": round(time.monotonic() - started, 1),
        }

    replace, ready = args.overwrite, finish
    if address is not None:  # what lies in the cache is left of an import that couldn't be copied
        replace, ready = True, lambda: None
    with writing(folder, replace, summary, ready) as output:
        run = Run(output.problems, output.work, images, args.split)
        for record in source.records(args, run):
            output.write(record)
    told = _told(output, run, args)
    if address is not None:
        publish(folder, address, finish)
    return told


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The flags of an import as JSON, but for those that say where it goes."""
    left_out = ("command", "source", "output", "overwrite")
    return {
        name: value
        for name, value in vars(args).items()
        if name not in left_out and value not in (None, False, [])
    }


def _told(output: Output, run: Run, args: argparse.Namespace) -> str:
    counts = ", ".join(f"{n:,} {what}" for what, n in output.counts.items() if n)
    splits = ", ".join(f"{n:,} {split}" for split, n in sorted(output.splits.items()))
    lines = [f"Imported {counts}", f"Splits: {splits}"]
    if problems := output.problems.counts():
        lines.append("Left out or changed:")
        examples = output.problems.examples()
        lines += [
            f"  {n:,} x {kind}, such as {examples[kind][:_WIDTH]}" for kind, n in problems.items()
        ]
    folder = as_given(args.output)
    shards = f"{folder}-shards"
    lines += [f"Files: {METADATA}, {PROBLEMS} and {SUMMARY} in {folder}", "Go on with:"]
    # Photos of archives lie beside the metadata.
    inside, images = (output.folder / PHOTOS).is_dir(), args.images
    place = [] if inside else [f"--images={as_given(images) if images else 'PHOTOS'}"]
    flags = [f"--metadata={folder}", *place, f"--output={shards}"]
    if output.splits["train"] and not (output.splits["validation"] or output.splits[BY_ID]):
        flags.append("--validation-share=0.05")  # the source has no validation split of its own
    build = to_paste("python", "-m", "scenarioclip_jax.data.build", *flags, *run.build_flags)
    train = to_paste(
        *("python", "-m", "scenarioclip_jax.main", "--config=configs/pretrain.py"),
        f"--config.data.dir={shards}",
    )
    lines += [f"  {build}", f"  {train}"]
    if not images and not inside:
        lines.append("where PHOTOS is the folder of the photos.")
    return "\n".join(lines)


def _export(export: Export, args: argparse.Namespace, finish: Callable[[], None]) -> str:
    """Runs an export; returns the summary as text."""
    address = check_address(args.output)
    if export.is_folder and address is not None:
        raise SourceError(
            f"--output={address}: {export.name} writes a folder of this machine; copy it to the bucket after"
        )
    path = local_path(args.output) if address is None else spool(address) / address.name
    if address is not None:
        if Bucket(address).list() and not args.overwrite:
            raise SourceError(
                f"--output={address} is there already; name another file, or replace it: --overwrite"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    if path.is_dir() and not export.is_folder:
        raise SourceError(f"--output={path} is a folder; name a file in it")
    if (path.exists() and not args.overwrite) or (export.is_folder and path.is_file()):
        raise SourceError(
            f"--output={path} is there already; name another file, or replace it: --overwrite"
        )
    files = metadata.files(local_copy(args.metadata))
    counts = export.write(lambda: metadata.records(files, args.split), path, args, finish)
    if address is not None:
        Bucket(address).put(path, "")
        path.unlink()
    told = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n)
    return f"Wrote {told} to {as_given(args.output)}"
