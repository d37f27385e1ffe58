"""Makes annotations from photos, or from frames of videos.

    python -m scenarioclip_jax.annotate run --images DIR --output WORK

does all stages, goes on where it was interrupted, and ends with what to run next. Each stage is a command, too,
for machines that share the work: `caption --output WORK --shard 0/8`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from scenarioclip_jax.annotate import frames_command, status
from scenarioclip_jax.annotate.assemble import assemble, write_labels
from scenarioclip_jax.annotate.runner import Summary, list_photos, run_stage
from scenarioclip_jax.annotate.settings_file import read_settings
from scenarioclip_jax.annotate.shards import ALL, Shard, read_shard
from scenarioclip_jax.annotate.stages import NAMES, STAGES, VERIFY, asked_for, photos
from scenarioclip_jax.annotate.work import Work, open_work
from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.shell import to_paste
from scenarioclip_jax.stop_signals import Stopped, stop_signals


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m scenarioclip_jax.annotate", description=(__doc__ or "").partition("\n")[0]
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    frames_command.add(commands)
    run = commands.add_parser("run", help="do all stages, then assemble")
    _add_work(run)
    run.add_argument(
        "--verify",
        action="store_true",
        help="let the language model check the negatives; stays on until --config says otherwise",
    )
    stages = [(photos.NAME, "list the photos"), *((s.name, s.purpose) for s in STAGES)]
    for name, purpose in stages:
        _add_work(commands.add_parser(name, help=f"stage: {purpose}"))
    _add_output(commands.add_parser("assemble", help="write the metadata that the build reads"))
    own = commands.add_parser("labels", help="write a table of all labels, to edit")
    _add_output(own)
    own.add_argument(
        "--wordnet",
        default="",
        metavar="NAME",
        help="suggest synonyms and more general names, too, by this lexicon of wn, such as oewn:2024, or a "
        "file in WN-LMF",
    )
    own = commands.add_parser("status", help="a table of what is done, failed, stale and to do")
    _add_output(own)
    own = commands.add_parser("retry", help="let failures be tried again")
    _add_output(own)
    own.add_argument("--stage", choices=(photos.NAME, *NAMES), help="only of this stage")
    own.add_argument("--kind", help="only failures of this kind")
    own = commands.add_parser("show", help="a picture of everything known about a photo")
    _add_output(own)
    own.add_argument("id", help="the photo's path in the photos' folder")
    own.add_argument("--to", type=Path, metavar="FILE", help="the picture (default: in WORK/shown)")
    own = commands.add_parser("review", help="a page to keep, drop and edit scenes, in a browser")
    _add_output(own)
    own.add_argument("--reviewer", metavar="NAME", help="who decides (default: your user's name)")
    own.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: only here)"
    )
    own.add_argument("--port", type=int, default=0, help="port (default: one that is free)")
    own.add_argument("--no-browser", action="store_true", help="only print the address")
    own = commands.add_parser("quality", help="compare the scenes with annotations that are true")
    _add_output(own)
    own.add_argument("--truth", type=Path, required=True, metavar="DIR", help="the annotations")
    own.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


def _add_output(own: argparse.ArgumentParser) -> None:
    own.add_argument("--output", type=Path, required=True, metavar="WORK", help="working folder")


def _add_work(own: argparse.ArgumentParser) -> None:
    _add_output(own)
    own.add_argument("--images", type=Path, metavar="DIR", help="folder of photos, for a new WORK")
    own.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings in YAML; kept in WORK for the next time",
    )
    own.add_argument(
        "--shard",
        type=_shard,
        default=ALL,
        metavar="I/N",
        help="do only share I of N of the photos, counted from 0",
    )
    own.add_argument(
        "--follow-links", action="store_true", help="let links lead out of the photos' folder"
    )


def _shard(text: str) -> Shard:
    try:
        return read_shard(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    args = parser().parse_args(arguments)
    try:
        with stop_signals():
            return _run(args)
    except (ReadableError, OSError) as error:
        say(f"error: {error}", error=True)
        return 1
    except Stopped as stop:
        say("\nstopped; what is done is kept, and the same command goes on", error=True)
        return stop.exit_code


def _run(args: argparse.Namespace) -> int:
    if args.command == frames_command.NAME:
        return frames_command.run(args)
    if args.command in ("run", photos.NAME, *NAMES):
        settings = read_settings(args.config) if args.config else None
        work = open_work(
            args.output,
            args.images,
            settings,
            follow_links=args.follow_links,
            # Who asks for the stage wants it to count.
            verify=args.command == VERIFY.name or getattr(args, "verify", False),
        )
        return _do(work, args.command, args.shard)
    work = open_work(args.output)
    if args.command == "assemble":
        say(assemble(work).told(work))
    elif args.command == "labels":
        file = write_labels(work, args.wordnet)
        say(f"{file}: edit its column `becomes`, then run `assemble` again")
        if not (args.wordnet or work.settings.labels.wordnet):
            say(
                "Synonyms and more general names are suggested with --wordnet oewn:2024, after `python -m wn "
                "download oewn:2024`"
            )
    elif args.command == "status":
        say(status.told(work))
    elif args.command == "retry":
        say(status.retry(work, args.stage, args.kind))
    elif args.command == "show":
        from scenarioclip_jax.annotate import show  # it imports matplotlib

        say(str(show.draw(work, args.id, args.to)))
    elif args.command == "review":
        from scenarioclip_jax.annotate.review.serve import (
            serve,
        )  # it imports the server's libraries

        serve(work, args.reviewer, args.host, args.port, browser=not args.no_browser)
    else:
        from scenarioclip_jax.annotate import quality  # it imports scipy

        say(quality.told(quality.measure(work, args.truth), args.json))
    return 0


def _do(work: Work, command: str, shard: Shard) -> int:
    summaries: list[Summary] = []
    if command in ("run", photos.NAME):
        summaries.append(list_photos(work, shard))
        say(summaries[-1].told(work))
    for stage in asked_for(work.settings):
        if command in ("run", stage.name):
            summaries.append(run_stage(work, stage, shard))
            say(summaries[-1].told(work))
    if command == "run" and shard.count == 1:
        say(assemble(work).told(work))
    elif command == "run":
        words = ("python", "-m", "scenarioclip_jax.annotate", "assemble", f"--output={work.folder}")
        say(f"when all shares are done: {to_paste(*words)}")
    lost = [each.stage for each in summaries if each.counts["failed"] and not _any(each)]
    return 1 if lost else 0


def _any(summary: Summary) -> bool:
    return bool(summary.counts["done"] or summary.counts["kept"])
