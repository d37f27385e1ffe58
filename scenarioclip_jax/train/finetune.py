"""What a fine-tuning takes from the weights that it starts from, and which parameters it trains.

A fine-tuning is a training run like any other. Its config (configs/finetune.py) names weights instead of a
model, and this module fills in what follows from them: the architecture, how inputs are prepared, and the rules
that freeze what shouldn't change.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.command import Config, ConfigError, listed, naming
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.settings import CONFIG_KEYS, as_level
from scenarioclip_jax.models.scenario_clip import branch_of, head_of, parts_of, pools
from scenarioclip_jax.models.towers import TextConfig, VisionConfig, fields_of
from scenarioclip_jax.paths import address_of, local_path

PARTS = ("full", "last", "lora", "heads")
KERNELS = r"(vision|text)/(stem|trunk)/\w+/stack/blocks/(qkv|out|fc1|fc2)/kernel"
CANVAS = 320 / 224  # of a side of the canvas in sides of the view, as in pretraining
# Arguments of the model that are the run's own choice.
HOW_TO_COMPUTE = ("dtype", "remat", "unroll", "attention")


def with_model(config: Config, workdir: Any = None) -> Config:
    """Fills in the model of the weights that a fine-tuning starts from; returns any other config as it is.

    Args:
      config: The config. It isn't changed.
      workdir: The run's folder; a run that resumes needs the weights that it started from no more.

    Raises:
      ConfigError: The section `finetune` can't be used, or there are no such weights.
    """
    if "finetune" not in config:
        return config
    config = config.copy_and_resolve_references()
    config.unlock()
    levels = levels_of_task(config)
    resumed = workdir is not None and address_of(str(workdir)) is None
    resumed = resumed and (local_path(str(workdir)) / "model.json").is_file()
    if resumed and not config.init_from:
        config.init_from = _started_from(local_path(str(workdir)))
    if not config.init_from and not resumed:
        raise ConfigError(
            "config.init_from is empty: name the weights to fine-tune: a run's workdir, a converted model, a "
            "folder for PyTorch, or plain CLIP"
        )
    from scenarioclip_jax.interop.initial import spec_of

    with naming("init_from"):
        spec = spec_of(str(workdir) if resumed else config.init_from, arch=config.arch)
    _take_over(config, spec)
    if config.init_heads != "clip":
        raise ConfigError(
            f"config.init_heads={config.init_heads}: a fine-tuning goes on with the heads of its weights, so "
            "that it has scores before its first step; leave it at clip"
        )
    if not config.data.tokenizer and not resumed:
        config.data.tokenizer = config.init_from
    config.trainable = trainable(spec.model, levels, config.finetune.parts)
    if config.finetune.parts == "lora":
        config.optimizer.lora_rank = ((KERNELS, config.finetune.rank), (r".*", 0))
    for level, key in CONFIG_KEYS.items():
        if level not in levels:
            config.loss.level_weights[key] = 0.0
    config.lock()
    return config


def _started_from(workdir: Path) -> str:
    """The weights that a run began with, which its report compares; empty if they aren't known."""
    try:
        config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
        return str(config["init_from"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def levels_of_task(config: Config) -> tuple[str, ...]:
    """The levels that a fine-tuning teaches; raises ConfigError if the section `finetune` has a bad value."""
    section = config.finetune
    levels = tuple(map(as_level, listed(section.levels)))
    if not levels or not set(levels) <= set(LEVELS):
        raise ConfigError(
            f"config.finetune.levels={tuple(section.levels)!r}: must be among "
            f"{', '.join(CONFIG_KEYS.values())}"
        )
    if section.parts not in PARTS:
        raise ConfigError(
            f"config.finetune.parts={section.parts!r}: must be one of {', '.join(PARTS)}"
        )
    for name in ("patience", "shots", "draw"):
        if section[name] < 0:
            raise ConfigError(f"config.finetune.{name}={section[name]}: must be 0 or more")
    for name in ("blocks", "rank"):
        if section[name] < 1:
            raise ConfigError(f"config.finetune.{name}={section[name]}: must be 1 or more")
    return tuple(level for level in LEVELS if level in levels)


def _take_over(config: Config, spec: ModelSpec) -> None:
    """Sets everything that belongs to the weights."""
    model = dict(spec.model)
    if config.finetune.parts == "last":
        model = _with_last_blocks(model, config.finetune.blocks)
    config.arch = model.pop("arch")
    config.loss.kind = "sigmoid" if model.pop("logit_bias", False) else "softmax"
    for name in HOW_TO_COMPUTE:
        model.pop(name, None)
    for tower, sizes in (("vision", VisionConfig), ("text", TextConfig)):
        model[tower] = fields_of(sizes(**model[tower]))  # weights may leave out defaults
    config.model.update(model)
    config.data.fit, config.data.region_style = spec.fit, spec.region_style
    for level, key in CONFIG_KEYS.items():
        if config.data.levels[key].text_length is None:
            config.data.levels[key].text_length = spec.lengths[level]
    if config.data.canvas_size is None:
        config.data.canvas_size = round(CANVAS * model["vision"]["image_size"])


def _with_last_blocks(model: Mapping[str, Any], blocks: int) -> dict[str, Any]:
    """Moves the ends of the stems, so that behind them are just the last blocks of every tower.

    Raises:
      ConfigError: The ends can't be moved, or a tower has fewer blocks.
    """
    if model["arch"] == "scenario_clip_shared":
        raise ConfigError(
            "config.finetune.parts=last: a model with arch scenario_clip_shared is told its level behind the "
            "stem, whose end can't be moved; take full or heads"
        )
    changed = dict(model)
    for tower in ("vision", "text"):
        depth = model[tower]["depth"]
        if blocks > depth:
            raise ConfigError(
                f"config.finetune.blocks={blocks}: the {tower} tower of the weights has {depth} blocks"
            )
        changed[tower] = {**model[tower], "stem_blocks": depth - blocks}
    return changed


def trainable(
    model: Mapping[str, Any], levels: Sequence[str], parts: str
) -> tuple[tuple[str, bool], ...]:
    """The rules `config.trainable`: everything that serves none of `levels` stays as it is.

    Args:
      model: Arguments of `ScenarioCLIP`.
      levels: The levels to teach.
      parts: `full`: everything that serves them; `last`: all but their stems; `lora`: the matrices of all
        blocks and what `heads` trains; `heads`: their projections, logit scales and, if regions are pooled, the
        pooling.
    """
    arch, pooled = model["arch"], pools(model)
    others = [level for level in LEVELS if level not in levels]
    frozen = [rf"logit_(scale|bias)/{level}" for level in others]
    frozen += [rf"(vision|text)/level/{level}" for level in others]
    read = ["object"] if model.get("ends_as_objects") and "relation" in levels else []
    frozen += [rf"regions/\w+/{level}/.*" for level in others if level not in read]
    for modality in ("vision", "text"):
        one_tower = pooled and modality == "vision"
        has = parts_of(arch, modality, pooled=pooled)
        towers = {has.towers[0] if one_tower else branch_of(arch, level) for level in levels}
        heads = {level if one_tower else head_of(arch, level) for level in levels}
        idle = [tower for tower in has.towers if tower not in towers]
        frozen += [rf"{modality}/(stem|trunk)/{tower}/.*" for tower in idle]
        frozen += [rf"{modality}/head/{head}/.*" for head in has.heads if head not in heads]
    if others and model.get("share_stem", False):
        frozen.append(r"(vision|text)/stem/shared/.*")
    rules = [(pattern, False) for pattern in frozen]
    if parts == "lora":
        rules += [(KERNELS, True)]
    if parts in ("heads", "lora"):
        rules += [(r"((vision|text)/head|regions|logit_scale|logit_bias)/.*", True)]
        rules += [(r"vision/trunk/\w+/pooling/.*", True), (r".*", False)]
    else:
        rules += [(r"(vision|text)/stem/.*", parts == "full"), (r".*", True)]
    return tuple(rules)
