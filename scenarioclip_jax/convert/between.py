"""A model between two others: what fine-tuning began with, and what it ended with."""

import argparse
import shutil
from pathlib import Path

from scenarioclip_jax import checkpoint
from scenarioclip_jax.console import say
from scenarioclip_jax.convert.tokenizers import open_tokenizer
from scenarioclip_jax.data.photo_digests import OF_RUN
from scenarioclip_jax.interop import interpolate as between
from scenarioclip_jax.interop.output import on_device, progress
from scenarioclip_jax.storage.models import model_copy


def interpolate(args: argparse.Namespace, output: Path) -> None:
    folder = model_copy(str(args.checkpoint), args.step)
    say(f"reading {args.base} and {args.checkpoint}", error=True)
    spec = checkpoint.ModelSpec.read(folder)
    tuned, step = checkpoint.load_params(folder, weights=args.weights, step=args.step)
    tokenizer = open_tokenizer(str(folder / "tokenizer.json"))
    base = between.read_base(str(args.base), spec, tokenizer, folder)
    params = between.interpolate(base, tuned, args.alpha)
    size = sum(value.nbytes for value in params.values())
    params, _ = on_device(params, {})
    with progress(output, size, "writing"):
        tokenizer.save(output / "tokenizer.json")
        checkpoint.save_model(output, spec, params, {}, step=step)
        if (photos := folder / OF_RUN).is_file():  # what both were trained on
            shutil.copyfile(photos, output / OF_RUN)
