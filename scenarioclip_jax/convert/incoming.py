"""Weights of others become checkpoints: from CLIP, and from the published implementation."""

import argparse
from pathlib import Path

from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec, save_model
from scenarioclip_jax.console import say
from scenarioclip_jax.convert.tokenizers import DEFAULT_TOKENIZER, open_tokenizer
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.interop import initial, known_files
from scenarioclip_jax.interop.huggingface import read_config
from scenarioclip_jax.interop.lightning import read_checkpoint
from scenarioclip_jax.interop.output import on_device, progress
from scenarioclip_jax.interop.plain_clip import open_plain_clip
from scenarioclip_jax.storage.cache import local_copy


def from_huggingface(args: argparse.Namespace, output: Path) -> None:
    clip = open_plain_clip(args.model)
    if args.tokenizer is None and clip.tokenizer is None:
        raise CheckpointError(
            f"{args.model}: no tokenizer.json in it, nor vocab.json with merges.txt; give --tokenizer"
        )
    tokenizer = clip.tokenizer if args.tokenizer is None else open_tokenizer(args.tokenizer)
    model = initial.arguments_from_clip(
        clip,
        arch=args.arch,
        share_stem=args.share_stem,
        stem_blocks=(args.vision_stem_blocks, args.text_stem_blocks),
        image_size=args.image_size,
        embed_dim=args.embed_dim,
        head=args.head,
    )
    say(f"reading {args.model}", error=True)
    params = initial.from_clip(clip, model, head=args.head, seed=args.seed)
    ema = initial.teacher_of(params) if args.arch == "scenario_clip_1" else {}
    teacher = {"steps": 0} if ema else None
    _save(output, model, params, ema, tokenizer, fit=clip.fit, teacher=teacher)


def from_reference(args: argparse.Namespace, output: Path) -> None:
    for name in ("checkpoint", "ema", "clip_config"):
        if getattr(args, name) is not None:
            setattr(args, name, local_copy(str(getattr(args, name))))
    if what := known_files.describe(args.checkpoint):  # before a tokenizer is looked for
        raise CheckpointError(f"{args.checkpoint}: {what}")
    source = args.tokenizer
    if source is None and args.clip_config is not None:
        beside = [args.clip_config.parent / name for name in ("tokenizer.json", "vocab.json")]
        source = str(args.clip_config.parent) if any(p.is_file() for p in beside) else None
    tokenizer = open_tokenizer(source or DEFAULT_TOKENIZER)
    sizes = read_config(args.clip_config, tokenizer)[0] if args.clip_config else None
    say(f"reading {args.checkpoint}", error=True)
    found = read_checkpoint(
        args.checkpoint,
        arch=args.arch,
        teacher_path=args.ema,
        sizes=sizes,
        share_stem=args.share_stem,
    )
    for note in found.notes:
        say(f"note: {note}", error=True)
    say(
        f"{found.model['arch']}, step {found.step}, {'with' if found.ema else 'without'} teacher",
        error=True,
    )
    if found.ema:
        known = ", ".join(f"{name} {value:g}" for name, value in found.teacher.items())
        say(
            f"of its teacher: {known or 'nothing but its weights, so it counts as warmed up'}",
            error=True,
        )
    _save(
        output,
        found.model,
        found.params,
        found.ema or {},
        tokenizer,
        step=found.step,
        teacher=found.teacher,
    )


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
