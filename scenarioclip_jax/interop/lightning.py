"""Reads checkpoints of the published implementation (PyTorch Lightning) without running any of its code."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.interop import known_files, reference
from scenarioclip_jax.interop.clip_model import tower_configs
from scenarioclip_jax.interop.initial import FROZEN, published_stem_blocks
from scenarioclip_jax.interop.weights import Weights, check_names, from_tensors, load_torch
from scenarioclip_jax.models.scenario_clip import Parts, branch_of, parts_of
from scenarioclip_jax.models.towers import TextConfig, VisionConfig
from scenarioclip_jax.shell import to_paste

Arrays = dict[str, np.ndarray]
ARCHITECTURES = ("pyramid_clip", "scenario_clip_0", "scenario_clip_1")

# openai/clip-vit-base-patch32, which the published implementation is built on.
B32 = {
    "vision": dict(width=768, depth=12, heads=12, mlp_dim=3072, image_size=224, patch_size=32),
    "text": dict(
        width=512, depth=12, heads=8, mlp_dim=2048, vocab_size=49408, max_length=77, eos_id=49407
    ),
}
# One of their parameters that no optimizer ever updates, and that has no counterpart here.
DISTILLATION_SCALE = "student_teacher_loss_fn.distillation_loss_fn.logit_scale_s"
INITIAL_DISTILLATION_SCALE = math.log(1 / 0.07)


class Reference(NamedTuple):
    """A model of the published implementation.

    Attributes:
      model: Arguments of `ScenarioCLIP`.
      params: The student's parameters.
      ema: The teacher's parameters that differ from the student's or are trained; None without a teacher.
      step: Number of optimizer steps done.
      teacher: The teacher's `steps` (updates), `decay` and `warmup_steps`, as far as the file has them.
      notes: Facts that the user should know.
    """

    model: dict[str, Any]
    params: Arrays
    ema: Arrays | None
    step: int
    teacher: dict[str, float]
    notes: list[str]


def read_checkpoint(
    path: Path,
    *,
    arch: str | None = None,
    teacher_path: Path | None = None,
    sizes: dict[str, dict] | None = None,
    share_stem: bool = False,
) -> Reference:
    """Reads a Lightning checkpoint, or a file with a state_dict.

    Args:
      arch: Architecture; None to detect it from the names.
      teacher_path: File with the teacher, if it isn't in the checkpoint.
      sizes: Fields of the towers by "vision" and "text", without `stem_blocks`; None for those of B/32.
      share_stem: Whether to keep one stem, which is only possible if the levels' stems are equal.

    Raises:
      CheckpointError: The file is damaged or holds other objects, or parameters are missing, unexpected or of
        another shape. All are listed.
    """
    checkpoint = load_torch(path)
    student = _state(_section(checkpoint, "state_dict", path), where=str(path))
    step = checkpoint.get("global_step", 0)
    distillation_scale = (
        float(student[DISTILLATION_SCALE]) if DISTILLATION_SCALE in student else None
    )
    del checkpoint
    student = student.renamed(lambda name: None if name == DISTILLATION_SCALE else name)
    detected = detect_arch(student, distillation_scale is not None, path)
    if arch is not None and _parts(arch) != _parts(detected):
        raise CheckpointError(
            f"{path}: its parameters are those of {detected}, not of --arch {arch}"
        )
    arch = arch or detected
    vision, text = _configs(student, arch, sizes, path)
    embed_dim = _embed_dim(student, arch, path)
    expected = reference.expected_shapes(arch, vision, text, embed_dim)
    remedy = "Is it a checkpoint of the published implementation, and --clip-config the right one?"
    check_names(student.shapes, expected, where=f"{path} (read as {arch})", remedy=remedy)
    params = _to_ours(student, arch, vision, text, share_stem, path)
    del student  # unmaps the file's pages before the teacher's are read

    model = dict(
        arch=arch,
        vision=vars(vision),
        text=vars(text),
        embed_dim=embed_dim,
        share_stem=share_stem,
    )
    notes = _notes_on_scale(distillation_scale)
    ema, record = None, {}
    found = _teacher(path, teacher_path)
    if found:
        teacher, record, where = found
        expected = {k: v for k, v in expected.items() if not k.endswith("_loss.logit_scale")}
        check_names(teacher.shapes, expected, where=where, remedy=remedy)
        teacher = reference.pairs(teacher, arch, vision, text, share_stem=share_stem)
        ema, note = _difference(params, teacher, where)
        notes += note
    elif arch == "scenario_clip_1":
        notes.append(_no_teacher(path))
    return Reference(model, params, ema, step if isinstance(step, int) else 0, record, notes)


def detect_arch(names: Mapping, distilled: bool, path: Path) -> str:
    """Detects the architecture from the names in a state_dict; raises CheckpointError if they fit none."""
    if any(name.startswith("visual_encoder.") for name in names):
        return "pyramid_clip"
    if any(name.startswith("global_visual_encoder.") for name in names):
        return "scenario_clip_1" if distilled else "scenario_clip_0"
    if what := known_files.of_names(names):
        raise CheckpointError(f"{path}: {what}")
    raise CheckpointError(
        f"{path}: no parameter is called visual_encoder… or global_visual_encoder…, so it is no checkpoint "
        f"of the published implementation (found {', '.join(list(names)[:3])}, …)"
    )


def _section(values: Any, name: str, path: Path) -> Any:
    """The content of a checkpoint under `name`; a bare state_dict is its own content."""
    if isinstance(values, Mapping) and name in values:
        return values[name]
    if isinstance(values, Mapping) and any("encoder." in str(key) for key in values):
        return values
    if isinstance(values, Mapping) and (what := known_files.of_names(map(str, values))):
        raise CheckpointError(f"{path}: {what}")
    held = ", ".join(map(str, list(values)[:8])) if isinstance(values, Mapping) else type(values)
    raise CheckpointError(f"{path}: holds no {name} (found {held})")


def _state(state: Any, *, where: str) -> Weights:
    def rename(name: str) -> str | None:
        name = re.sub(r"(^|\.)(module|_orig_mod)\.", r"\1", name)  # from DDP and torch.compile
        name = reference.plain(name.removeprefix("model."))
        return None if name.endswith(".position_ids") else name  # a buffer of old Transformers

    return from_tensors(state, where=where).renamed(rename).astype(np.float32)


def _teacher(path: Path, teacher_path: Path | None) -> tuple[Weights, dict, str] | None:
    """The teacher's weights, what else is known about it, and where it was found."""
    if teacher_path is not None:
        values, where = load_torch(teacher_path), teacher_path
        if isinstance(values, Mapping):
            values = values.get("ema", values)
    else:
        values, where = load_torch(path), path
        values = values.get("ema") if isinstance(values, Mapping) else None
        if values is None:
            return None
    state = _section(values, "teacher_state", where)
    record = {}
    for name, kind in (("steps", int), ("decay", float), ("warmup_steps", int)):
        value = values.get(name)
        if isinstance(value, int | float) or getattr(value, "shape", None) == ():
            record[name] = kind(value)
    return _state(state, where=f"{where} (teacher)"), record, f"{where} (teacher)"


def _no_teacher(path: Path) -> str:
    note = f"{path} holds no teacher; the output has the student's weights only"
    beside = sorted(path.parent.glob("*_ema_teacher.pt"))
    return note + (
        f". Is it in {beside[0]}? Then add {to_paste('--ema', beside[0])}" if beside else ""
    )


def _parts(arch: str) -> Parts:
    return parts_of(arch, "text", pooled=False)


def _prefix(arch: str) -> str:
    return reference.prefix_of(branch_of(arch, "global"))


def _configs(
    student: Weights, arch: str, sizes: dict[str, dict] | None, path: Path
) -> tuple[VisionConfig, TextConfig]:
    prefix = _prefix(arch)
    if sizes is None:
        patch = student.shapes.get(f"{prefix}visual_encoder.embeddings.patch_embedding.weight")
        tokens = student.shapes.get(f"{prefix}text_encoder.embeddings.token_embedding.weight")
        if (patch, tokens) != ((768, 3, 32, 32), (49408, 512)):
            raise CheckpointError(
                f"{path}: not built on CLIP ViT-B/32 (patch embedding {patch}, token embedding {tokens}), and "
                "shapes don't tell heads and token ids; give the config.json of its CLIP model with "
                "--clip-config FILE"
            )
    sizes = sizes or B32
    blocks = tuple(published_stem_blocks(sizes[t]["depth"], t) for t in ("vision", "text"))
    return tower_configs(sizes["vision"], sizes["text"], blocks)


def _embed_dim(student: Weights, arch: str, path: Path) -> int:
    prefix = _prefix(arch)
    name = f"{prefix}image_projection.weight"
    if name not in student:
        raise CheckpointError(f"{path}: {name} is missing")
    return student.shapes[name][0]


def _to_ours(theirs, arch, vision, text, share_stem, where) -> Arrays:
    try:
        return reference.to_ours(theirs, arch, vision, text, share_stem=share_stem)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None


def _difference(
    params: Arrays, teacher: Iterable[tuple[str, np.ndarray]], where: str
) -> tuple[Arrays, list[str]]:
    """The teacher's weights that it doesn't share with the student, and a note if it shares too few."""
    ema: Arrays = {}
    frozen, strayed = set(), set()
    for path, value in teacher:
        if FROZEN.fullmatch(path):
            frozen.add(path)
            if np.array_equal(value, params[path]):
                continue
            strayed.add(path)
        ema[path] = value
    if not strayed:
        return ema, []
    return ema, [
        f"{where}: {len(strayed)} of {len(frozen)} frozen arrays differ from the student's, which is "
        "unexpected: nothing should have changed them. They are kept for --weights ema; training that "
        "starts from the output uses the student's"
    ]


def _notes_on_scale(scale: float | None) -> list[str]:
    if scale is None or abs(scale - INITIAL_DISTILLATION_SCALE) < 1e-4:
        return []
    return [
        f"{DISTILLATION_SCALE} is {scale:.4f}, a distillation temperature of {math.exp(-scale):.4f} and not "
        "the published 0.07, which its optimizer never changes. It is no part of the model: to train on "
        f"with it, set config.loss.distill.student_temperature={math.exp(-scale):.4f}"
    ]
