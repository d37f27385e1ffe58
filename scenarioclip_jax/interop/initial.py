"""Initial parameters: a CLIP model for every level, or a ScenarioCLIP model of the same kind."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from scenarioclip_jax import checkpoint
from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec
from scenarioclip_jax.console import say
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.interop import clip_towers, exported, new_parts, reference
from scenarioclip_jax.interop.clip_model import ClipModel
from scenarioclip_jax.interop.fits import compare_inputs, compare_models, tokenizer_of
from scenarioclip_jax.interop.hub import find_folder, local_folder
from scenarioclip_jax.interop.plain_clip import is_plain_clip, open_plain_clip
from scenarioclip_jax.interop.positions import interpolate_positions
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.scenario_clip import (
    INITIAL_LOGIT_BIAS,
    INITIAL_LOGIT_SCALE,
    INITIAL_SIGMOID_SCALE,
    LEVELS,
    ScenarioCLIP,
    levels_of,
    parts_of,
    pools,
)
from scenarioclip_jax.models.towers import TextConfig, VisionConfig

Arrays = dict[str, np.ndarray]
HEADS = ("new", "clip")
# Parameters that a published teacher shares with its student: the stems without their trainable norm, which a
# shared stem doesn't train.
FROZEN = re.compile(r"(vision|text)/stem/(shared/.*|(?!\w+/pre_norm/).*)")


def published_stem_blocks(depth: int, tower: str) -> int:
    """Number of frozen blocks as published, 6 of 12 (vision) and 10 of 12 (text), scaled to other depths."""
    return round(depth * {"vision": 6, "text": 10}[tower] / 12)


def arguments_from_clip(
    clip: ClipModel,
    *,
    arch: str,
    share_stem: bool = False,
    stem_blocks: tuple[int | None, int | None] = (None, None),
    image_size: int | None = None,
    embed_dim: int | None = None,
    head: str = "new",
) -> dict[str, Any]:
    """Arguments of `ScenarioCLIP` for a model that starts from `clip`.

    Args:
      stem_blocks: Stem blocks of the vision and the text tower; None for `published_stem_blocks`.
      image_size: Image size in pixels, if it differs from the CLIP model's own.
      embed_dim: Size of the embedding space; None for CLIP's own with a new head. CLIP's head determines it.
      head: Kind of the heads, see `from_clip`.

    Raises:
      CheckpointError: The arguments contradict the model.
    """
    sizes = {"vision": dict(clip.vision), "text": dict(clip.text)}
    if embed_dim is not None and embed_dim < 1:
        raise CheckpointError(f"embed_dim is {embed_dim}; it must be at least 1")
    if image_size is not None:
        sizes["vision"]["image_size"] = image_size
    for (tower, values), blocks in zip(sizes.items(), stem_blocks, strict=True):
        wanted = published_stem_blocks(values["depth"], tower) if blocks is None else blocks
        values["stem_blocks"] = wanted
    if head == "clip" and embed_dim not in (None, 2 * clip.projection_dim):
        raise CheckpointError(
            f"embed_dim is {embed_dim}; with CLIP's own head it is {2 * clip.projection_dim}"
        )
    embed_dim = embed_dim or clip.projection_dim * (2 if head == "clip" else 1)
    try:
        VisionConfig(**sizes["vision"])
        TextConfig(**sizes["text"])
    except ValueError as error:
        raise CheckpointError(f"{clip.name}: {error}") from None
    biased = {"logit_bias": True} if "logit_bias" in clip.weights else {}
    return dict(arch=arch, **sizes, embed_dim=embed_dim, share_stem=share_stem, **biased)


def from_clip(
    clip: ClipModel, model: dict[str, Any], *, head: str = "new", seed: int = 0
) -> Arrays:
    """Initializes every level's towers from one CLIP model. Levels share arrays, so this costs one copy.

    Args:
      model: Arguments of `ScenarioCLIP`; sizes must be those of the CLIP model, except the image size, to which
        the position embedding is interpolated.
      head: `new`, as published: CLIP's projection is discarded, heads start at random, logit scales at
        ln(1 / 0.07). `clip`: heads that give CLIP's own cosine similarities, and its logit scale. Our head ends
        in a layer norm, which maps [Wx, -Wx] to a positive multiple of itself, so a projection to twice CLIP's
        dimensions loses nothing.
      seed: Seed of new heads.
    """
    vision, text = VisionConfig(**model["vision"]), TextConfig(**model["text"])
    rngs = nnx.Rngs(seed)
    params: Arrays = {}
    for modality, config in (("vision", vision), ("text", text)):
        parts = parts_of(model["arch"], modality, pooled=pools(model))
        tower = clip_towers.to_ours(
            clip.weights.renamed(lambda n, m=modality: _below(n, f"{m}.")), config
        )
        if modality == "vision":
            tower["stem/position"] = interpolate_positions(tower["stem/position"], config.grid)
        for path, value in tower.items():
            kind, rest = path.split("/", 1)
            shared = kind == "stem" and model.get("share_stem", False)
            for branch in ("shared",) if shared else parts.towers:
                params[f"{modality}/{kind}/{branch}/{rest}"] = value
        for name in parts.heads:
            if head == "clip":
                values = new_parts.clip_head(clip, modality)
            else:
                values = new_parts.new_head(config.width, model["embed_dim"], rngs)
            params |= {f"{modality}/head/{name}/{path}": v for path, v in values.items()}
    params = _with_scalars(params, model)
    params |= new_parts.new_parts(model, rngs)
    if head == "clip":
        # The model reads the scale as min(exp(scale), 100), as CLIP does.
        scalars = ["logit_scale"]
        if model.get("logit_bias", False) and "logit_bias" in clip.weights:
            scalars.append("logit_bias")
        for scalar in scalars:
            value = clip.weights[scalar]
            params |= {f"{scalar}/{level}": value for level in levels_of(model["arch"])}
    check_against_model(params, model)
    return params


def _with_scalars(params: Arrays, model: dict[str, Any]) -> Arrays:
    """Adds missing logit scales, and missing biases if the model has biases."""
    biased = model.get("logit_bias", False)
    initial = {"logit_scale": INITIAL_SIGMOID_SCALE if biased else INITIAL_LOGIT_SCALE}
    initial |= {"logit_bias": INITIAL_LOGIT_BIAS} if biased else {}
    new = {
        f"{scalar}/{level}": np.array(value, np.float32)
        for scalar, value in initial.items()
        for level in levels_of(model["arch"])
    }
    kept = {k: v for k, v in params.items() if biased or not k.startswith("logit_bias/")}
    return new | kept


def _below(name: str, prefix: str) -> str | None:
    return name.removeprefix(prefix) if name.startswith(prefix) else None


def check_against_model(params: Arrays, model: dict[str, Any]) -> None:
    """Raises AssertionError if these aren't the model's parameters, which would be a bug of ours."""
    _, shapes = parameters.abstract(lambda: ScenarioCLIP(**model, rngs=nnx.Rngs(0)))
    assert {path: value.shape for path, value in params.items()} == {
        path: value.shape for path, value in shapes.items()
    }


def check_source(source: str) -> None:
    """Raises CheckpointError if there is nothing at `source` that `init_from` reads; reads no weights."""
    folder = local_folder(source)
    if (folder / "model.json").is_file() or (folder / "checkpoints").is_dir():
        checkpoint.ModelSpec.read(folder)
        if not checkpoint.steps(folder):
            raise CheckpointError(f"{folder}: its folder checkpoints holds none that is complete")
        return
    found = find_folder(source)
    if not is_plain_clip(found):
        raise CheckpointError(f"{found}: no config.json in it, so there is no model to start from")


def spec_of(source: str, *, arch: str) -> ModelSpec:
    """The model that `source` holds, of any kind that `init_from` reads; reads no weights of a ScenarioCLIP.

    Args:
      source: As for `init_from`.
      arch: Architecture of a model that plain CLIP begins, with CLIP's own heads (`head="clip"`).

    Raises:
      CheckpointError: There is no model.
    """
    folder = local_folder(source)
    if exported.is_exported(folder):
        return exported.read(folder)[0]
    if (folder / "model.json").is_file() or (folder / "checkpoints").is_dir():
        return ModelSpec.read(folder)
    clip = open_plain_clip(source)
    model = arguments_from_clip(clip, arch=arch, head="clip")
    return ModelSpec(model, dict.fromkeys(LEVELS, clip.text["max_length"]), clip.fit)


class Initial(NamedTuple):
    """The initial parameters of a run.

    Attributes:
      params: Every parameter of the student.
      ema: Every parameter of the teacher; None if it starts as a copy.
      ema_steps: Number of updates of the teacher; None if there is no teacher or it is unknown.
    """

    params: Arrays
    ema: Arrays | None
    ema_steps: int | None = None


def init_from(
    source: str,
    model: dict[str, Any],
    *,
    seed: int = 0,
    head: str = "new",
    fit: str | None = None,
    region_style: str | None = None,
    lengths: Mapping[str, int] | None = None,
    tokenizer: Tokenizer | None = None,
) -> Initial:
    """Loads the parameters that a training run starts from, on the host.

    Args:
      source: A CLIP model in Hugging Face's format (folder or hub id), which initializes every level; or a
        ScenarioCLIP model (a run's workdir, the output of the converter, or a folder for PyTorch), which
        initializes everything.
      model: Arguments of `ScenarioCLIP` for the model to be built.
      seed: Seed of new heads.
      head: Kind of the heads that a CLIP model gives, see `from_clip`.
      fit, region_style, lengths, tokenizer: How the run prepares its inputs (see `ModelSpec`), which is
        compared with how the weights' inputs were prepared; None skips the comparison.

    Raises:
      CheckpointError: There is nothing usable, or it has another architecture or size or was trained with other
        inputs. Every difference is named.
    """
    folder = local_folder(source)
    prepared = {"fit": fit, "region_style": region_style}
    if exported.is_exported(folder):
        spec, params, theirs = exported.read(folder)
        ema = steps = None
        compare_models(source, model, spec.model)
        compare_inputs(source, model, spec, theirs, prepared, lengths, tokenizer, trained=True)
    elif (folder / "model.json").is_file() or (folder / "checkpoints").is_dir():
        spec = checkpoint.ModelSpec.read(folder)
        compare_models(source, model, spec.model)
        trained = max(checkpoint.steps(folder), default=0) > 0
        theirs = tokenizer_of(folder) if tokenizer else None
        if tokenizer and theirs is None:
            say(
                f"note: {folder} has no tokenizer.json, so whether its token embeddings belong to the run's "
                "tokenizer isn't checked"
            )
        compare_inputs(source, model, spec, theirs, prepared, lengths, tokenizer, trained=trained)
        params, ema, step = checkpoint.load_student_and_ema(folder)
        steps = checkpoint.load_record(folder, step, "teacher").get("steps")
        if checkpoint.keeps_ema_in_part(folder, step):
            say(
                f"{folder}: its run kept the average of what its teacher ran only (config.ema.keep=teacher), "
                "so the new teacher starts as a copy of the student"
            )
    else:
        clip = open_plain_clip(source)
        sizes = {"embed_dim": 2 * clip.projection_dim} if head == "clip" else {}
        compare_models(source, model, {"vision": clip.vision, "text": clip.text} | sizes)
        spec = ModelSpec({}, dict.fromkeys(LEVELS, clip.text["max_length"]), clip.fit)
        compare_inputs(
            source, model, spec, clip.tokenizer, prepared, lengths, tokenizer, trained=False
        )
        return Initial(from_clip(clip, model, seed=seed, head=head), None)
    if ema is not None:
        ema = _arrange(params | ema, spec.model, model, source)
    return Initial(_arrange(params, spec.model, model, source), ema, steps)


def _arrange(params: Arrays, old: dict[str, Any], new: dict[str, Any], source: str) -> Arrays:
    """Rearranges weights for a model with other stems (number of blocks, shared or not) or another loss."""
    params = _with_scalars(params, new)
    same = all(
        old[tower]["stem_blocks"] == new[tower]["stem_blocks"] for tower in ("vision", "text")
    )
    if same and old.get("share_stem", False) == new.get("share_stem", False):
        return {path: np.asarray(value) for path, value in params.items()}
    if old["arch"] == "scenario_clip_shared" and not same:
        raise CheckpointError(
            f"{source}: a model with arch scenario_clip_shared is told its level behind the stem, whose end "
            "can't be moved: give the stem_blocks that it was trained with"
        )
    configs = VisionConfig(**old["vision"]), TextConfig(**old["text"])
    theirs = reference.to_theirs(params, old["arch"], *configs, pooled=pools(old))
    configs = VisionConfig(**new["vision"]), TextConfig(**new["text"])
    try:
        return reference.to_ours(
            theirs,
            new["arch"],
            *configs,
            pooled=pools(new),
            share_stem=new.get("share_stem", False),
        )
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from None


def teacher_of(params: Arrays) -> Arrays:
    """The teacher's initial parameters: a copy of those that train in the published set-up."""
    return {path: value for path, value in params.items() if not FROZEN.fullmatch(path)}
