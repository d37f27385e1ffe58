"""The command line that builds a data set.

    python -m scenarioclip_jax.data.build --metadata DIR --output DIR
    python -m scenarioclip_jax.data.build --embedded 2000 --output DIR    # no data needed

`--help` explains the other flags.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scenarioclip_jax.console import say
from scenarioclip_jax.data import images
from scenarioclip_jax.data.build import in_bucket
from scenarioclip_jax.data.build.box_formats import CANVASES, FORMATS, ORIENTATIONS, UNITS
from scenarioclip_jax.data.build.dataset import KEPT, build, ensure_embedded
from scenarioclip_jax.data.build.summary import format_summary
from scenarioclip_jax.data.embedded.tier import TIERS
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.splits import FRACTIONS
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.paths import Address, local_path
from scenarioclip_jax.stop_signals import Stopped, stop_signals
from scenarioclip_jax.storage.bucket import check_address
from scenarioclip_jax.storage.output import spool


def _fractions(text: str) -> list[float]:
    try:
        return [float(share) for share in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--fractions must be three numbers like {','.join(map(str, FRACTIONS))}, got {text!r}"
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scenarioclip_jax.data.build", description=(__doc__ or "").partition("\n")[0]
    )
    # In the order in which --help shows them.
    _add_places(parser)
    _add_boxes(parser)
    parser.add_argument("--num-shards", type=int, help="shards a split (default: by size)")
    parser.add_argument(
        "--strict", action="store_true", help="anything mended, guessed or left out is an error"
    )
    _add_photos(parser)
    _add_processes(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace a data set that is there")
    _add_splits(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the embedded scenes")
    parser.add_argument(
        "--tier",
        choices=list(TIERS),
        default="plain",
        help="how hard the embedded scenes are: in hard ones several objects share a name, and relations are "
        "told from either end",
    )
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    """Where annotations and photos are, and where the data set goes."""
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--metadata", help="folder of metadata*.json and the images")
    given.add_argument("--embedded", type=int, metavar="N", help="draw N embedded scenes instead")
    parser.add_argument("--output", required=True, help="where the data set goes")
    parser.add_argument(
        "--images",
        action="append",
        default=[],
        metavar="DIR",
        help="folder of images besides that of the metadata; may be given several times",
    )
    parser.add_argument(
        "--follow-links", action="store_true", help="links may lead out of these folders"
    )
    parser.add_argument(
        "--skip-broken",
        action="store_true",
        help="read what is left of metadata files that can't be parsed",
    )


def _add_boxes(parser: argparse.ArgumentParser) -> None:
    """What the numbers of a box mean."""
    parser.add_argument(
        "--boxes",
        choices=FORMATS,
        help="what the four numbers of a box are: "
        + "; ".join(f"{name} = {text}" for name, text in FORMATS.items())
        + " (default: xyxy, and an error where the boxes look otherwise)",
    )
    parser.add_argument(
        "--box-units",
        choices=UNITS,
        help="what they are counted in: pixels (default), or unit (0 to 1), percent, thousand of the photo",
    )
    parser.add_argument(
        "--box-orientation",
        choices=ORIENTATIONS,
        help="boxes of EXIF-rotated photos are in pixels of the photo upright or as stored",
    )
    parser.add_argument(
        "--box-canvas",
        choices=CANVASES,
        help="the picture that boxes are in: the photo (default), or the photo padded to a square, around it "
        "(padded) or at the right and bottom (padded_corner)",
    )


def _add_photos(parser: argparse.ArgumentParser) -> None:
    """Which photos are stored, and what of them."""
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=images.MAX_PIXELS / 1e6,
        help="leave out photos with more pixels (default: %(default).0f)",
    )
    parser.add_argument(
        "--max-side",
        type=int,
        metavar="PIXELS",
        help="make photos smaller whose longer side has more pixels (default: keep their size)",
    )
    parser.add_argument(
        "--keep-metadata",
        action="store_true",
        help="store EXIF and other metadata of photos, such as the place where they were taken",
    )


def _add_processes(parser: argparse.ArgumentParser) -> None:
    """Who builds."""
    parser.add_argument(
        "--workers",
        type=int,
        default=None,
        metavar="N",
        help="processes that build (default: one for each core)",
    )
    parser.add_argument(
        "--runner",
        help="build on the workers of this runner of Apache Beam, such as FlinkRunner or DataflowRunner; flags "
        "that aren't known here are Beam's. Needs the extra `beam`",
    )


def _add_splits(parser: argparse.ArgumentParser) -> None:
    """Shares of the splits."""
    parser.add_argument(
        "--fractions",
        default=",".join(map(str, FRACTIONS)),
        help="shares of train, validation, test (default: %(default)s)",
    )
    parser.add_argument(
        "--validation-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the training split that becomes validation, where annotations name no such split",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = _parser()
    args, others = parser.parse_known_args(arguments)
    _check_flags(parser, args)
    if others and not args.runner:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    args.beam = [f"--runner={args.runner}", *others] if args.runner else None
    output, place, address = Path(args.output), args.output, None
    try:
        with stop_signals() as stopping:
            address = check_address(args.output)
            output = local_path(args.output) if address is None else spool(address)
            summary = _run(args, output, address, stopping.finish)
            place = f"{address}/{shards.NAME}/{summary['version']}"
            if address is None:
                place = shards.dataset_dir(output)
    except (ValueError, OSError, ReadableError) as error:
        say(f"error: {error}", error=True)
        return 1
    except Stopped as stop:
        kept = any(output.glob(f"{KEPT}*")) or (address and shards.find_dataset(output))
        more = "; what is done is kept: the same command goes on" if kept else ""
        say(f"\nstopped; nothing was built in {args.output}{more}", error=True)
        return stop.exit_code
    say(format_summary(summary, place))
    return 0


def _check_flags(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the program if a flag would be ignored."""
    drawn = {"embedded", "seed", "tier"}
    own = drawn if args.embedded is not None else set()
    both = {"output", "overwrite", "num_shards"}
    for name, value in vars(args).items():
        meant = name in both or (name in own if own else name not in drawn)
        if not meant and value != parser.get_default(name):
            kind = "--embedded" if own else "--metadata"
            parser.error(f"--{name.replace('_', '-')} means nothing together with {kind}")
    if args.runner and args.workers:
        parser.error(
            "--workers means nothing together with --runner, whose own flags say how many there are"
        )


def _run(
    args: argparse.Namespace,
    output: Path,
    address: Address | None,
    before_visible: Callable[[], None],
) -> dict[str, Any]:
    if args.embedded is not None:
        in_bucket.check(args.output, args.overwrite)
        ensure_embedded(
            output,
            args.embedded,
            args.seed,
            tier=args.tier,
            num_shards=args.num_shards,
            before_visible=before_visible if address is None else lambda: None,
        )
        if address is not None:
            return in_bucket.publish(output, address, before_visible)
        return shards.load_summary(output)
    return build(
        args.metadata,
        args.output,
        num_shards=args.num_shards,
        strict=args.strict,
        fractions=_fractions(args.fractions),
        validation_share=args.validation_share,
        overwrite=args.overwrite,
        max_megapixels=args.max_megapixels,
        image_dirs=args.images,
        follow_links=args.follow_links,
        skip_broken=args.skip_broken,
        boxes=args.boxes,
        box_units=args.box_units,
        box_orientation=args.box_orientation,
        box_canvas=args.box_canvas,
        workers=args.workers,
        beam=args.beam,
        max_side=args.max_side,
        keep_metadata=args.keep_metadata,
        before_visible=before_visible,
    )
