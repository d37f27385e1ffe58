"""The command `frames`: videos become photos."""

import argparse
import math
from pathlib import Path
from typing import Any

from scenarioclip_jax.annotate.videos import FrameSettings, make_frames
from scenarioclip_jax.console import say
from scenarioclip_jax.shell import to_paste

NAME = "frames"


def add(commands: Any) -> None:
    """Adds the command to a command line."""
    own = commands.add_parser(NAME, help="make photos of videos, for --images")
    own.add_argument("--videos", type=Path, required=True, metavar="DIR", help="folder of videos")
    own.add_argument(
        "--output", type=Path, required=True, metavar="FRAMES", help="folder that the frames go to"
    )
    own.add_argument(
        "--every",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="take the first frame of each interval of this length (%(default)s)",
    )
    own.add_argument(
        "--max-side",
        type=_count,
        default=1280,
        metavar="PIXELS",
        help="make frames smaller whose longest side is longer (%(default)s)",
    )
    own.add_argument(
        "--action-from-folder",
        action="store_true",
        help="the name of a video's folder says what happens in it, in place of the language model",
    )
    own.add_argument("--workers", type=_count, metavar="N", help="processes (one for each core)")
    own.add_argument(
        "--follow-links", action="store_true", help="look for videos in linked folders, too"
    )


def run(args: argparse.Namespace) -> int:
    """Makes frames; returns the exit code, which is 1 if videos failed and none was done."""
    summary = make_frames(
        args.videos,
        args.output,
        FrameSettings(args.every, args.max_side),
        action_from_folder=args.action_from_folder,
        workers=args.workers,
        follow_links=args.follow_links,
    )
    say(summary.told())
    counts = summary.counts
    if not (counts["done"] or counts["kept"]):
        return 1 if counts["failed"] else 0
    go_on = to_paste(
        "python", "-m", "scenarioclip_jax.annotate", "run", f"--images={args.output}", "--output"
    )
    say(f"Go on with:\n  {go_on} WORK")
    return 0


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0.001):
        raise argparse.ArgumentTypeError(f"{text}: should be at least 0.001 seconds")
    return value


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: should be 1 or more")
    return value
