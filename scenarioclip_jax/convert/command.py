"""Converts weights from CLIP and from the published implementation, to PyTorch, and between two models.

    python -m scenarioclip_jax.convert from-huggingface --model DIR_OR_HUB_ID --output CKPT
    python -m scenarioclip_jax.convert from-reference --checkpoint FILE.ckpt --output CKPT
    python -m scenarioclip_jax.convert to-pytorch --checkpoint CKPT --output DIR
    python -m scenarioclip_jax.convert interpolate --base CKPT --checkpoint CKPT --alpha 0.5 --output CKPT
    python -m scenarioclip_jax.convert push --folder DIR --repo ORGANIZATION/NAME

CKPT is a folder as described in `scenarioclip_jax.checkpoint`: pass it as `config.init_from`, open it with
`scenarioclip_jax.load`, or convert it. Outputs appear only when complete, and never replace anything. `push`
uploads what `to-pytorch` wrote to the Hugging Face hub.
"""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.paths import Address, PathError, local_path
from scenarioclip_jax.stop_signals import Stopped, stop_signals
from scenarioclip_jax.storage.bucket import StorageError, check_address

MODEL_HELP = "folder of a Hugging Face CLIP model, or its hub id"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m scenarioclip_jax.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _huggingface_arguments(commands.add_parser("from-huggingface", help="start from CLIP"))
    _reference_arguments(commands.add_parser("from-reference", help="from published PyTorch code"))
    _pytorch_arguments(commands.add_parser("to-pytorch", help="for PyTorch users"))
    _interpolate_arguments(commands.add_parser("interpolate", help="between two models"))
    for command in commands.choices.values():
        command.add_argument("--output", type=_path, required=True, help="folder to be made")
    _push_arguments(commands.add_parser("push", help="to the Hugging Face hub"))
    return parser.parse_args(argv)


def _path(text: str) -> Path | Address:
    try:
        return check_address(text) or local_path(text)
    except (PathError, StorageError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole(least: int) -> Callable[[str], int]:
    def parse_number(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,9}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"{text!r}: it must be a whole number, at least {least}"
            )
        return int(text)

    return parse_number


def _huggingface_arguments(command: argparse.ArgumentParser) -> None:
    from scenarioclip_jax.interop.initial import HEADS
    from scenarioclip_jax.models.scenario_clip import ARCHITECTURES

    add = command.add_argument
    add("--model", required=True, help=MODEL_HELP)
    add("--arch", choices=ARCHITECTURES, default="scenario_clip_1")
    add("--share-stem", action="store_true", help="one stem for all levels, instead of one each")
    for tower, published in (("vision", "6 of 12"), ("text", "10 of 12")):
        text = f"blocks of the {tower} stem (default: {published}, in proportion)"
        add(f"--{tower}-stem-blocks", type=_whole(0), help=text)
    add("--embed-dim", type=_whole(1), help="of new heads (default: CLIP's projection_dim)")
    add("--head", choices=HEADS, default="new", help="new: random, as published; clip: CLIP's own")
    add("--image-size", type=_whole(1), help="pixels; interpolates the position embedding")
    add("--seed", type=_whole(0), default=0, help="of new heads")
    add("--tokenizer", help="tokenizer.json, folder or hub id (default: the model's own)")


def _reference_arguments(command: argparse.ArgumentParser) -> None:
    from scenarioclip_jax.convert.tokenizers import DEFAULT_TOKENIZER
    from scenarioclip_jax.interop.lightning import ARCHITECTURES

    add = command.add_argument
    add("--checkpoint", type=_path, required=True, help="Lightning checkpoint or state_dict")
    add("--ema", type=_path, help="file with the teacher, where it isn't in the checkpoint")
    add("--arch", choices=ARCHITECTURES, help="default: told from the parameters' names")
    add(
        "--clip-config",
        type=_path,
        help="config.json of its CLIP model, where that isn't ViT-B/32",
    )
    add("--share-stem", action="store_true", help="keep one stem, where the levels' are equal")
    text = f"tokenizer.json, folder or hub id (default: beside --clip-config, else {DEFAULT_TOKENIZER})"
    add("--tokenizer", help=text)


def _pytorch_arguments(command: argparse.ArgumentParser) -> None:
    from scenarioclip_jax.checkpoint import WEIGHTS
    from scenarioclip_jax.interop.to_pytorch import DTYPES, LAYOUTS

    add = command.add_argument
    add(
        "--checkpoint",
        type=_path,
        required=True,
        help="--workdir of a run, or output of this tool",
    )
    add("--weights", choices=WEIGHTS, default="student")
    add("--step", type=_whole(0), help="which checkpoint of a run (default: the newest)")
    add("--dtype", choices=DTYPES, default="float32")
    add("--layout", choices=LAYOUTS, default="transformers")
    add("--license", type=_license, help="of weights and data, as the hub names it: cc-by-4.0")
    add("--results", type=Path, help="results.json of an evaluation of these weights, for the card")


def _interpolate_arguments(command: argparse.ArgumentParser) -> None:
    from scenarioclip_jax.checkpoint import WEIGHTS

    add = command.add_argument
    add("--base", required=True, help="what fine-tuning began with, its config.init_from")
    add("--checkpoint", type=_path, required=True, help="what it ended with: --workdir of a run")
    add("--weights", choices=WEIGHTS, default="student", help="of --checkpoint")
    add("--step", type=_whole(0), help="of --checkpoint (default: the newest)")
    add("--alpha", type=_share, default=0.5, help="0: the base; 1: the checkpoint; default 0.5")


def _push_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--folder", type=Path, required=True, help="output of to-pytorch")
    add("--repo", required=True, metavar="ORGANIZATION/NAME", help="made if there is none")
    add("--private", action="store_true", help="a new repository is private")
    add("--revision", default="main", help="branch; made if there is none")


def _license(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r}: it must be an identifier in lower case, such as cc-by-4.0 or other"
        )
    return text


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: it must be a number from 0 to 1")
    return value


def main(argv: Sequence[str] | None = None) -> None:
    # Conversion is bound by memory and disk, so don't occupy an accelerator or its memory.
    os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        with stop_signals() as stopping:
            from scenarioclip_jax.interop.output import new_output

            args = parse(argv)
            if args.command == "push":
                _push(args)
                return
            with new_output(args.output, stopping.finish) as partial:  # before anything slow
                _job(args.command)(args, partial)
        say(f"wrote {args.output}", error=True)
    except Stopped as stop:  # first: it may come before the names below are defined
        say("interrupted; nothing was written", error=True)
        sys.exit(stop.exit_code)
    except (ReadableError, OSError) as error:  # OSError: disk full, no permission
        sys.exit(f"error: {error}")


def _job(command: str) -> Callable[[argparse.Namespace, Path], None]:
    """What a command does; imported only now, because it is slow to import."""
    if command == "interpolate":
        from scenarioclip_jax.convert.between import interpolate

        return interpolate
    if command == "to-pytorch":
        from scenarioclip_jax.convert.outgoing import to_pytorch

        return to_pytorch
    from scenarioclip_jax.convert.incoming import from_huggingface, from_reference

    return {"from-huggingface": from_huggingface, "from-reference": from_reference}[command]


def _push(args: argparse.Namespace) -> None:
    from scenarioclip_jax.interop import push as uploading

    address = uploading.push(args.folder, args.repo, private=args.private, revision=args.revision)
    for note in uploading.notes_on(args.folder):
        say(f"note: {note}", error=True)
    say(f"pushed {args.folder} to {args.repo}: {address}", error=True)
