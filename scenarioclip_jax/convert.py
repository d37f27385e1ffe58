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
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.paths import Address, PathError, local_path
from scenarioclip_jax.stop_signals import Stopped, stop_signals
from scenarioclip_jax.storage.bucket import StorageError, check_address
from scenarioclip_jax.storage.cache import local_copy
from scenarioclip_jax.storage.models import model_copy

if TYPE_CHECKING:  # these are slow to import
    from scenarioclip_jax.checkpoint import ModelSpec
    from scenarioclip_jax.interop.card_facts import Facts

MODEL_HELP = "folder of a Hugging Face CLIP model, or its hub id"
DEFAULT_TOKENIZER = "openai/clip-vit-base-patch32"


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


def from_huggingface(args: argparse.Namespace, output: Path) -> None:
    from scenarioclip_jax.checkpoint import CheckpointError
    from scenarioclip_jax.interop import initial
    from scenarioclip_jax.interop.plain_clip import open_plain_clip

    clip = open_plain_clip(args.model)
    if args.tokenizer is None and clip.tokenizer is None:
        raise CheckpointError(
            f"{args.model}: no tokenizer.json in it, nor vocab.json with merges.txt; give --tokenizer"
        )
    tokenizer = clip.tokenizer if args.tokenizer is None else _tokenizer(args.tokenizer)
    model = initial.model_arguments(
        clip,
        arch=args.arch,
        share_stem=args.share_stem,
        stem_blocks=(args.vision_stem_blocks, args.text_stem_blocks),
        image_size=args.image_size,
        embed_dim=args.embed_dim,
        head=args.head,
    )
    _say(f"reading {args.model}")
    params = initial.from_clip(clip, model, head=args.head, seed=args.seed)
    ema = initial.teacher_of(params) if args.arch == "scenario_clip_1" else {}
    teacher = {"steps": 0} if ema else None
    _save(output, model, params, ema, tokenizer, fit=clip.fit, teacher=teacher)


def from_reference(args: argparse.Namespace, output: Path) -> None:
    from scenarioclip_jax.checkpoint import CheckpointError
    from scenarioclip_jax.interop import known_files
    from scenarioclip_jax.interop.huggingface import read_config
    from scenarioclip_jax.interop.lightning import read_checkpoint

    for name in ("checkpoint", "ema", "clip_config"):
        if getattr(args, name) is not None:
            setattr(args, name, local_copy(str(getattr(args, name))))
    if what := known_files.describe(args.checkpoint):  # before a tokenizer is looked for
        raise CheckpointError(f"{args.checkpoint}: {what}")
    source = args.tokenizer
    if source is None and args.clip_config is not None:
        beside = [args.clip_config.parent / name for name in ("tokenizer.json", "vocab.json")]
        source = str(args.clip_config.parent) if any(p.is_file() for p in beside) else None
    tokenizer = _tokenizer(source or DEFAULT_TOKENIZER)
    sizes = read_config(args.clip_config, tokenizer)[0] if args.clip_config else None
    _say(f"reading {args.checkpoint}")
    found = read_checkpoint(
        args.checkpoint,
        arch=args.arch,
        teacher_path=args.ema,
        sizes=sizes,
        share_stem=args.share_stem,
    )
    for note in found.notes:
        _say(f"note: {note}")
    _say(f"{found.model['arch']}, step {found.step}, {'with' if found.ema else 'without'} teacher")
    if found.ema:
        known = ", ".join(f"{name} {value:g}" for name, value in found.teacher.items())
        _say(f"of its teacher: {known or 'nothing but its weights, so it counts as warmed up'}")
    _save(
        output,
        found.model,
        found.params,
        found.ema or {},
        tokenizer,
        step=found.step,
        teacher=found.teacher,
    )


def to_pytorch(args: argparse.Namespace, output: Path) -> None:
    from scenarioclip_jax import checkpoint
    from scenarioclip_jax.data.photo_digests import OF_RUN
    from scenarioclip_jax.describe import calibration
    from scenarioclip_jax.interop import to_pytorch as out

    given, args.checkpoint = args.checkpoint, model_copy(str(args.checkpoint), args.step)
    spec = checkpoint.ModelSpec.read(args.checkpoint)
    tokenizer = args.checkpoint / "tokenizer.json"
    _tokenizer(str(tokenizer))
    _say(f"reading {given}")
    ema = None
    if args.layout == "reference" and args.weights == "student":  # that layout has room for both
        params, ema, step = checkpoint.load_student_and_ema(args.checkpoint, step=args.step)
        if checkpoint.keeps_ema_in_part(args.checkpoint, step):
            _say("without teacher: its run kept the average in part only (config.ema.keep=teacher)")
    else:
        params, step = checkpoint.load_params(args.checkpoint, weights=args.weights, step=args.step)
    if args.layout == "transformers":
        origin = f"the {args.weights}'s of training step {step}"
        kept = calibration.temperatures(args.checkpoint, args.weights)
        out.write_folder(
            output,
            spec,
            params,
            tokenizer,
            dtype=args.dtype,
            origin=origin,
            temperatures=kept,
            facts=_facts(args, spec, params),
        )
        if (photos := args.checkpoint / OF_RUN).is_file():  # evaluations count what was seen
            shutil.copyfile(photos, output / OF_RUN)
    elif args.layout == "huggingface-towers":
        out.write_towers(output, spec, params, tokenizer, dtype=args.dtype)
    else:
        progress = {"global_step": step, "epoch": _epoch(args.checkpoint, step)}
        teacher = checkpoint.load_record(args.checkpoint, step, "teacher")
        out.write_reference(
            output,
            spec,
            params,
            ema,
            tokenizer,
            args.dtype,
            progress=progress,
            teacher=teacher,
        )


def _facts(args: argparse.Namespace, spec: "ModelSpec", params: Mapping[str, Any]) -> "Facts":
    """What the model card states."""
    from scenarioclip_jax.interop.card_facts import Facts, Score, of_run

    known = of_run(args.checkpoint)
    if args.license:
        known["license"] = args.license
    if args.results:
        from scenarioclip_jax.evaluation.report.for_card import read_figures

        tokenizer = _tokenizer(str(args.checkpoint / "tokenizer.json"))
        figures, data = read_figures(args.results, params, spec, tokenizer)
        known |= {"scores": tuple(Score(*figure) for figure in figures), "scored_on": data}
    return Facts(**known)


def interpolate(args: argparse.Namespace, output: Path) -> None:
    from scenarioclip_jax import checkpoint
    from scenarioclip_jax.data.photo_digests import OF_RUN
    from scenarioclip_jax.interop import interpolate as between
    from scenarioclip_jax.interop.output import on_device, progress

    folder = model_copy(str(args.checkpoint), args.step)
    _say(f"reading {args.base} and {args.checkpoint}")
    spec = checkpoint.ModelSpec.read(folder)
    tuned, step = checkpoint.load_params(folder, weights=args.weights, step=args.step)
    tokenizer = _tokenizer(str(folder / "tokenizer.json"))
    base = between.read_base(str(args.base), spec, tokenizer, folder)
    params = between.interpolate(base, tuned, args.alpha)
    size = sum(value.nbytes for value in params.values())
    params, _ = on_device(params, {})
    with progress(output, size, "writing"):
        tokenizer.save(output / "tokenizer.json")
        checkpoint.save_model(output, spec, params, {}, step=step)
        if (photos := folder / OF_RUN).is_file():  # what both were trained on
            shutil.copyfile(photos, output / OF_RUN)


def push(args: argparse.Namespace) -> None:
    from scenarioclip_jax.interop import push as uploading

    address = uploading.push(args.folder, args.repo, private=args.private, revision=args.revision)
    for note in uploading.notes_on(args.folder):
        _say(f"note: {note}")
    _say(f"pushed {args.folder} to {args.repo}: {address}")


def _epoch(directory: Path, step: int) -> int:
    """The number of whole epochs before `step` of a training run; 0 if unknown."""
    from scenarioclip_jax.checkpoint import load_record

    data = load_record(directory, step, "data")
    return step * data["batch_size"] // data["records"] if data else 0


def _tokenizer(source: str):
    from scenarioclip_jax.checkpoint import CheckpointError
    from scenarioclip_jax.data.tokens import Tokenizer

    # Not everything is a path here; a hub id stays as it is.
    source = str(local_copy(source)) if source.startswith("~") or "://" in source else source
    try:
        return Tokenizer.load(source)
    except (FileNotFoundError, ValueError) as error:
        raise CheckpointError(f"tokenizer: {error}") from None


def _save(
    output: Path,
    model,
    params,
    ema,
    tokenizer,
    *,
    fit: str = "centre_crop",
    step: int = 0,
    teacher=None,
) -> None:
    from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec, save_model
    from scenarioclip_jax.data.batch import LEVELS
    from scenarioclip_jax.interop.output import on_device, progress

    text = model["text"]
    if tokenizer.eos_id != text["eos_id"] or tokenizer.vocab_size > text["vocab_size"]:
        raise CheckpointError(
            f"the tokenizer ends a text with id {tokenizer.eos_id} and has {tokenizer.vocab_size} tokens; the "
            f"text tower expects {text['eos_id']} and at most {text['vocab_size']}; give another --tokenizer"
        )
    spec = ModelSpec(model, lengths=dict.fromkeys(LEVELS, text["max_length"]), fit=fit)
    size = sum(value.nbytes for part in (params, ema) for value in part.values())
    params, ema = on_device(params, ema)
    with progress(output, size, "writing"):
        tokenizer.save(output / "tokenizer.json")
        save_model(output, spec, params, ema, step=step, teacher=teacher)


def _say(text: str) -> None:
    say(text, error=True)


def main(argv: Sequence[str] | None = None) -> None:
    # Conversion is bound by memory and disk, so don't occupy an accelerator or its memory.
    os.environ["JAX_PLATFORMS"] = "cpu"
    jobs = {
        "from-huggingface": from_huggingface,
        "from-reference": from_reference,
        "to-pytorch": to_pytorch,
        "interpolate": interpolate,
    }
    try:
        with stop_signals() as stopping:
            from scenarioclip_jax.interop.output import new_output

            args = parse(argv)
            if args.command == "push":
                push(args)
                return
            with new_output(args.output, stopping.finish) as partial:  # before anything slow
                jobs[args.command](args, partial)
        _say(f"wrote {args.output}")
    except Stopped as stop:  # first: it may come before the names below are defined
        _say("interrupted; nothing was written")
        sys.exit(stop.exit_code)
    except (ReadableError, OSError) as error:  # OSError: disk full, no permission
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
