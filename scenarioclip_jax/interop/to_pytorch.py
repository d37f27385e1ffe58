"""Exports one of our models to folders that PyTorch users can read."""

import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import ml_dtypes
import numpy as np
import tokenizers
from safetensors.numpy import save_file
from tokenizers import decoders, processors

from scenarioclip_jax import errors, files
from scenarioclip_jax.annotate.models import detections, zero_shot
from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec
from scenarioclip_jax.data import (
    image_arrays,
    image_colors,
    image_depth,
    image_files,
    image_range,
    images,
    photo_boxes,
    photo_parts,
    region_styles,
    view,
)
from scenarioclip_jax.data.normalization import CLIP_MEAN, CLIP_STD
from scenarioclip_jax.data.stored import labels
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.describe import asking, boxes, graphs, scene_graph, steps, texts, word_lists
from scenarioclip_jax.interop import exported, reference
from scenarioclip_jax.interop.card import model_card
from scenarioclip_jax.interop.card_facts import NOTHING_KNOWN, Facts
from scenarioclip_jax.interop.huggingface import FIELDS, LEGACY_EOS
from scenarioclip_jax.interop.label_normalizer import label_normalizer
from scenarioclip_jax.interop.portable import portable
from scenarioclip_jax.interop.weights import cast, check_finite
from scenarioclip_jax.models.scenario_clip import levels_of, parts_of, pools
from scenarioclip_jax.models.towers import TextConfig, VisionConfig
from scenarioclip_jax.progress_bar import progress_bar

DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
LAYOUTS = ("transformers", "reference", "huggingface-towers")
SHARD_BYTES = 2 << 30  # larger files are split, so that little is in memory twice
END_OF_WORD = "</w>"  # in CLIP's vocabulary
TEMPLATES = Path(__file__).parent / "pytorch"
# Modules that are copied (see `portable`), so that an exported processor makes the same pixels and tokens from
# photos, boxes and texts, and an exported model describes photos by the same code.
SHARED = (images, image_arrays, image_colors, image_depth, image_files, image_range)
SHARED += (labels, photo_boxes, photo_parts, region_styles, view)
SHARED += (asking, boxes, graphs, scene_graph, steps, texts, word_lists, errors, files)
SHARED += (detections, zero_shot)
# Copied as well, but not imported: matplotlib is slow, and makes a folder in the user's home.
DRAWING = ("scenarioclip_jax.drawing", "scenarioclip_jax.describe.picture")

Arrays = Mapping[str, np.ndarray]


def write_folder(
    out: Path,
    spec: ModelSpec,
    params: Arrays,
    tokenizer_file: Path,
    *,
    dtype: str,
    origin: str,
    temperatures: Mapping[str, float] = MappingProxyType({}),
    facts: Facts = NOTHING_KNOWN,
) -> None:
    """Writes the files that `AutoModel` and `AutoProcessor` read with `trust_remote_code=True`.

    Args:
      params: Parameters by our names, including frozen ones.
      dtype: Key of DTYPES for the type in which weights are stored.
      origin: Origin of the weights, for the model card.
      temperatures: Temperatures by level, if the model is calibrated, see `describe.calibrate`.
      facts: What the model card states.
    """
    vision, text = VisionConfig(**spec.model["vision"]), TextConfig(**spec.model["text"])
    theirs = reference.to_theirs(params, spec.model["arch"], vision, text, pooled=pools(spec.model))
    save_safetensors(out, theirs, dtype)
    _write_json(
        out / "config.json",
        {
            **exported.config_json(spec, dtype, temperatures),
            "pad_id": Tokenizer.load(tokenizer_file).pad_id,
        },
    )
    for module in exported.MODELS:
        shutil.copyfile(TEMPLATES / f"{module}.py", out / f"{module}.py")
    write_processor(out, spec, tokenizer_file)
    (out / "README.md").write_text(model_card(spec, dtype, origin, facts), encoding="utf-8")


def write_reference(
    out: Path,
    spec: ModelSpec,
    params: Arrays,
    ema: Arrays | None,
    tokenizer_file: Path,
    dtype: str,
    *,
    progress: Mapping[str, int],
    teacher: Mapping[str, float],
) -> None:
    """Writes `scenarioclip.ckpt`, which the published implementation reads, and how to read it back.

    Args:
      progress: The values `epoch` and `global_step`.
      teacher: The teacher's `steps`, `decay` and `warmup_steps`, as far as they are known.

    Raises:
      CheckpointError: PyTorch isn't installed, or the architecture isn't a published one.
    """
    try:
        import torch
    except ImportError:
        raise CheckpointError("--layout reference needs PyTorch: pip install torch") from None
    arch = spec.model["arch"]
    if arch == "clip":
        raise CheckpointError(
            "arch is 'clip', which the published implementation hasn't; leave out --layout reference"
        )
    _refuse_unpublished(spec, "reference")
    _refuse_packed(spec, "reference")
    if spec.model.get("logit_bias", False):
        raise CheckpointError(
            "the model was trained with the sigmoid loss and has logit biases, which the published "
            "implementation hasn't; leave out --layout reference"
        )
    vision, text = VisionConfig(**spec.model["vision"]), TextConfig(**spec.model["text"])

    def tensors(values: Arrays, prefix: str) -> dict:
        theirs = reference.to_theirs(values, arch, vision, text)
        return {
            name if name.endswith("_loss.logit_scale") else prefix + name: torch.from_numpy(
                np.array(_stored(name, value, DTYPES[dtype]), np.float32)
            ).to(getattr(torch, dtype))
            for name, value in theirs.items()
        }

    state = tensors(params, "model.")
    checkpoint = {"state_dict": state, **progress}
    checkpoint["pytorch-lightning_version"] = "2.0.0"  # Lightning looks for it
    if arch == "scenario_clip_1":
        scale = torch.tensor(np.log(1 / 0.07), dtype=torch.float32)  # never trained there
        state["student_teacher_loss_fn.distillation_loss_fn.logit_scale_s"] = scale
    if ema is not None:
        weights = tensors(params | ema, "")
        weights = {k: v for k, v in weights.items() if not k.endswith("_loss.logit_scale")}
        checkpoint["ema"] = {"teacher_state": weights, **teacher}
    torch.save(checkpoint, out / "scenarioclip.ckpt")
    _write_json(out / "config.json", clip_config(spec))
    write_tokenizer(out, spec, tokenizer_file)


def write_towers(
    out: Path, spec: ModelSpec, params: Arrays, tokenizer_file: Path, *, dtype: str
) -> None:
    """Writes BRANCH/vision and BRANCH/text, plain CLIP towers, and BRANCH/heads.safetensors.

    The heads' arrays are named `image_projection.weight`, …, `text_norm.bias`; logit scales (and biases) are in
    `logits.json`.
    """
    _refuse_unpublished(spec, "huggingface-towers")
    _refuse_packed(spec, "huggingface-towers")
    arch = spec.model["arch"]
    configs = {"vision": VisionConfig(**spec.model["vision"])}
    configs["text"] = TextConfig(**spec.model["text"])
    whole = clip_config(spec)
    for branch in parts_of(arch, "text", pooled=False).towers:
        heads = {}
        for modality, (_, infix, head) in reference.MODALITIES.items():
            folder = out / branch / modality
            folder.mkdir(parents=True)
            tower = reference.branch_tower(params, modality, branch, configs[modality])
            # Both old and new versions of Transformers read the names with the infix.
            save_safetensors(folder, {f"{infix}.{name}": v for name, v in tower.items()}, dtype)
            _write_json(
                folder / "config.json",
                whole[f"{modality}_config"]
                | {"architectures": [f"CLIP{modality.title()}Model"], "torch_dtype": dtype},
            )
            values = reference.branch_head(params, modality, branch)
            heads |= {f"{head}_{name}": value for name, value in values.items()}
        save_safetensors(out / branch, heads, dtype, name="heads")
        write_tokenizer(out / branch, spec, tokenizer_file)
    scalars = {
        f"{scalar}/{level}": float(
            _stored(f"{scalar}/{level}", params[f"{scalar}/{level}"], np.float32)
        )
        for scalar in reference.SCALARS
        for level in levels_of(arch)
        if f"{scalar}/{level}" in params
    }
    _write_json(out / "logits.json", scalars)
    write_processor(out, spec, tokenizer_file)


def _refuse_unpublished(spec: ModelSpec, layout: str) -> None:
    """Raises CheckpointError for models whose parts only `write_folder` can write."""
    arch, pooled = spec.model["arch"], pools(spec.model)
    if not VisionConfig(**spec.model["vision"]).has_class_token:
        raise CheckpointError(
            "the model has SigLIP's towers, which plain CLIP towers can't stand for; leave out --layout "
            f"{layout}: the folder that has code of its own can"
        )
    if arch == "scenario_clip_2" and layout == "reference":
        raise CheckpointError(
            "arch is scenario_clip_2, which the published code doesn't have; leave out --layout reference, or "
            "take huggingface-towers"
        )
    if arch == "scenario_clip_shared" or pooled:
        what = "model.regions is pooled" if pooled else f"arch is {arch}"
        raise CheckpointError(
            f"{what}, which plain CLIP towers can't do; leave out --layout {layout}: the folder that has code "
            "of its own can"
        )


def _refuse_packed(spec: ModelSpec, layout: str) -> None:
    if spec.model.get("patch_packing", False):
        raise CheckpointError(
            "the model was trained with patch packing: its towers don't see the black patches of objects and "
            f"relations, which plain CLIP towers do; leave out --layout {layout}"
        )


def save_safetensors(folder: Path, arrays: Arrays, dtype: str, *, name: str = "model") -> None:
    """Writes `NAME.safetensors`, or shards and their index if it would be large; shows progress."""
    target = np.dtype(DTYPES[dtype])
    shards: list[list[str]] = [[]]
    size = 0
    for key, value in arrays.items():
        if shards[-1] and size + value.size * target.itemsize > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(key)
        size += value.size * target.itemsize
    total = sum(value.size * target.itemsize for value in arrays.values())
    where = {}
    with progress_bar(
        total=total, desc=f"writing {name}", unit="B", unit_scale=True, delay=1
    ) as bar:
        for index, keys in enumerate(shards, 1):
            file = f"{name}.safetensors"
            if len(shards) > 1:
                file = f"{name}-{index:05d}-of-{len(shards):05d}.safetensors"
            # Reshape, because ascontiguousarray turns scalars into arrays of one element.
            shard = {
                key: np.ascontiguousarray(_stored(key, arrays[key], target)).reshape(
                    arrays[key].shape
                )
                for key in keys
            }
            save_file(shard, folder / file, metadata={"format": "pt"})
            bar.update(sum(value.nbytes for value in shard.values()))
            where |= dict.fromkeys(keys, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": where}
        _write_json(folder / f"{name}.safetensors.index.json", index)


def _stored(name: str, value: np.ndarray, dtype) -> np.ndarray:
    """Converts an array to the dtype in which it is stored; raises CheckpointError if that loses values."""
    value = check_finite(np.asarray(value), name, "the checkpoint")
    return cast(value, dtype, f"--dtype {np.dtype(dtype).name}: {name}")


def write_processor(out: Path, spec: ModelSpec, tokenizer_file: Path) -> None:
    """Writes the files that `AutoProcessor` reads: settings, tokenizer and code."""
    write_tokenizer(out, spec, tokenizer_file)
    for name in exported.PROCESSORS:
        shutil.copyfile(TEMPLATES / f"{name}.py", out / f"{name}.py")
    for name in (*(module.__name__ for module in SHARED), *DRAWING):
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        code = portable(Path(found.origin).read_text(encoding="utf-8"))
        (out / f"{name.rpartition('.')[2]}.py").write_text(code, encoding="utf-8")
    auto_map = {
        "AutoImageProcessor": f"{exported.PROCESSING}.ScenarioCLIPImageProcessor",
        "AutoProcessor": f"{exported.PROCESSING}.ScenarioCLIPProcessor",
    }
    image = {
        "image_processor_type": "ScenarioCLIPImageProcessor",
        "image_size": spec.model["vision"]["image_size"],
        "fit": spec.fit,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
    }
    common = {"processor_class": "ScenarioCLIPProcessor", "auto_map": auto_map}
    _write_json(out / "preprocessor_config.json", image | common)
    parts = {"regions": spec.model.get("regions", "views"), "region_style": spec.region_style}
    _write_json(out / "processor_config.json", {"lengths": spec.lengths} | parts | common)


def write_tokenizer(out: Path, spec: ModelSpec, tokenizer_file: Path) -> None:
    """Writes the tokenizer so that by itself it normalizes labels and adds begin-of-text and end-of-text."""
    ours = Tokenizer.load(tokenizer_file)
    raw = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    raw.no_truncation()  # its padding stays, since towers may see it
    raw.normalizer = label_normalizer(raw.normalizer)
    bos, eos, pad = (
        None if i is None else raw.id_to_token(i) for i in (ours.bos_id, ours.eos_id, ours.pad_id)
    )
    raw.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}" if bos else f"$A {eos}",
        special_tokens=[(token, raw.token_to_id(token)) for token in (bos, eos) if token],
    )
    if isinstance(raw.decoder, decoders.ByteLevel):  # otherwise word marks show in decoded texts
        spaces = decoders.Replace(END_OF_WORD, " "), decoders.Strip(" ", 1, 1)
        raw.decoder = decoders.Sequence([decoders.ByteLevel(), *spaces])
    raw.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": eos,
        "pad_token": pad,
        "padding_side": "right",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": spec.model["text"]["max_length"],
        "clean_up_tokenization_spaces": False,
        # A text that contains "<|endoftext|>" is ordinary text.
        "split_special_tokens": True,
    }
    _write_json(out / "tokenizer_config.json", settings | ({"bos_token": bos} if bos else {}))


def clip_config(spec: ModelSpec) -> dict:
    """The config.json of a Hugging Face CLIP model with towers of these sizes."""
    towers = {}
    configs = {
        "vision": VisionConfig(**spec.model["vision"]),
        "text": TextConfig(**spec.model["text"]),
    }
    embed_dim = spec.model.get("embed_dim", 512)
    for tower, config in configs.items():
        fields = {theirs: getattr(config, ours) for ours, theirs in FIELDS[tower].items()}
        fields |= {"model_type": f"clip_{tower}_model", "projection_dim": embed_dim}
        towers[f"{tower}_config"] = fields
    if configs["text"].eos_id == LEGACY_EOS:
        raise CheckpointError(
            f"the end-of-text id is {LEGACY_EOS}, which Transformers' CLIP takes for the highest id; "
            "such a model can't be written as plain CLIP towers"
        )
    return {"model_type": "clip", "projection_dim": embed_dim, **towers}


def _write_json(path: Path, values: Mapping) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
