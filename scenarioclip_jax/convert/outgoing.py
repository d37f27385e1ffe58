"""Checkpoints become what PyTorch users open: folders for Transformers, or a Lightning checkpoint."""

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scenarioclip_jax import checkpoint
from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.console import say
from scenarioclip_jax.convert.tokenizers import open_tokenizer
from scenarioclip_jax.data.photo_digests import OF_RUN
from scenarioclip_jax.describe import calibration
from scenarioclip_jax.interop import to_pytorch as out
from scenarioclip_jax.interop.card_facts import Facts, Score, of_run
from scenarioclip_jax.storage.models import model_copy


def to_pytorch(args: argparse.Namespace, output: Path) -> None:
    given, args.checkpoint = args.checkpoint, model_copy(str(args.checkpoint), args.step)
    spec = ModelSpec.read(args.checkpoint)
    tokenizer = args.checkpoint / "tokenizer.json"
    open_tokenizer(str(tokenizer))
    say(f"reading {given}", error=True)
    if args.layout == "reference":
        _write_reference(args, spec, output)
        return
    params, step = checkpoint.load_params(args.checkpoint, weights=args.weights, step=args.step)
    if args.layout == "huggingface-towers":
        out.write_towers(output, spec, params, tokenizer, dtype=args.dtype)
        return
    out.write_folder(
        output,
        spec,
        params,
        tokenizer,
        dtype=args.dtype,
        origin=f"the {args.weights}'s of training step {step}",
        temperatures=calibration.temperatures(args.checkpoint, args.weights),
        facts=_facts(args, spec, params),
    )
    if (photos := args.checkpoint / OF_RUN).is_file():  # evaluations count what was seen
        shutil.copyfile(photos, output / OF_RUN)


def _write_reference(args: argparse.Namespace, spec: ModelSpec, output: Path) -> None:
    """Writes a checkpoint of the published implementation."""
    folder, ema = args.checkpoint, None
    if args.weights == "student":  # this layout has room for both
        params, ema, step = checkpoint.load_student_and_ema(folder, step=args.step)
        if checkpoint.keeps_ema_in_part(folder, step):
            say(
                "without teacher: its run kept the average in part only (config.ema.keep=teacher)",
                error=True,
            )
    else:
        params, step = checkpoint.load_params(folder, weights=args.weights, step=args.step)
    out.write_reference(
        output,
        spec,
        params,
        ema,
        folder / "tokenizer.json",
        args.dtype,
        progress={"global_step": step, "epoch": _epoch(folder, step)},
        teacher=checkpoint.load_record(folder, step, "teacher"),
    )


def _facts(args: argparse.Namespace, spec: ModelSpec, params: Mapping[str, Any]) -> Facts:
    """What the model card states."""
    known = of_run(args.checkpoint)
    if args.license:
        known["license"] = args.license
    if args.results:
        from scenarioclip_jax.evaluation.report.for_card import read_figures

        tokenizer = open_tokenizer(str(args.checkpoint / "tokenizer.json"))
        figures, data = read_figures(args.results, params, spec, tokenizer)
        known |= {"scores": tuple(Score(*figure) for figure in figures), "scored_on": data}
    return Facts(**known)


def _epoch(directory: Path, step: int) -> int:
    """The number of whole epochs before `step` of a training run; 0 if unknown."""
    data = checkpoint.load_record(directory, step, "data")
    return step * data["batch_size"] // data["records"] if data else 0
