"""Turns a config into the constructors' arguments, and refuses a bad config before anything slow starts."""

import math
import tempfile
from typing import Any

from ml_collections import FrozenConfigDict

from scenarioclip_jax.command import Config, ConfigError, listed, naming
from scenarioclip_jax.console import say
from scenarioclip_jax.data.mixture import from_anywhere, parse
from scenarioclip_jax.data.settings import CONFIG_KEYS, DataSettings
from scenarioclip_jax.paths import PathError, local_path, require_local
from scenarioclip_jax.storage.bucket import check_address

# What validation of a fine-tuning chooses by, and the suite that it needs beside recognition.
SCORES = {"top1": "zero_shot", "R1": "retrieval", "negatives": "hard_negatives"}
DRAWN = ("demo", "recipe")  # presets that train on the drawn scenes if no data is named


def model_arguments(config: Config) -> dict[str, Any]:
    """Arguments of `ScenarioCLIP` without `rngs` and `attention`, as plain values.

    They belong to the model. Which kernel computes its attention depends on the machine.
    """
    bias = {"logit_bias": True} if config.loss.kind == "sigmoid" else {}
    model = config.model.to_dict()
    del model["attention"]
    return {"arch": config.arch, **model, **bias}


def data_settings(config: Config, **changes) -> DataSettings:
    """Settings of the input pipeline; values that follow from the model or the run aren't set twice."""
    values = {k: v for k, v in config.data.items() if k not in ("dir", "tokenizer", "levels")}
    values["levels"] = by_level(config.data.levels)
    vision = config.model.vision
    values |= {"image_size": vision.image_size, "seed": config.seed} | changes
    values["pooled_regions"] = config.model.regions == "pooled"
    if config.model.patch_packing:
        values["patch_size"] = vision.patch_size
    with naming("data"):
        return DataSettings(**values)


def view_settings(config: Config):
    """A run's `data.device.views.ViewSettings`."""
    from scenarioclip_jax.data.device.views import ViewSettings

    with naming("views"):
        values = config.views.to_dict() | {"jitter": by_level(config.views.jitter)}
        return ViewSettings(fit=config.data.fit, region_style=config.data.region_style, **values)


def by_level(section: Config) -> dict[str, Any]:
    """Reads a config section that has one value per level; the result is keyed by level name."""
    values = section.to_dict()
    return {level: values[key] for level, key in CONFIG_KEYS.items()}


def resolve(config: Config, *, eos_id: int | None = None) -> Config:
    """Fills in what follows from the data and freezes the config for the run.

    Args:
      eos_id: The id with which the tokenizer ends texts. None if there is no tokenizer, as when a step is only
        planned; the text tower's id is then accepted as it is.

    Raises:
      ConfigError: The text tower pools at a different token than the one that ends texts.
    """
    config = config.copy_and_resolve_references()
    if config.data.dir:  # as seen from anywhere: an evaluation may be started in another folder
        with naming("data.dir"):
            config.data.dir = from_anywhere(config.data.dir)
    text = config.model.text
    if text.eos_id == -1:
        text.eos_id = text.vocab_size - 1 if eos_id is None else eos_id
    elif eos_id not in (None, text.eos_id):
        raise ConfigError(
            f"config.model.text.eos_id={text.eos_id}: the tokenizer ends texts with {eos_id}, "
            "and the text tower pools at the end of text; set it to that, or to -1"
        )
    return FrozenConfigDict(config)


def check(config: Config, *, batch_ways: int, reads_data: bool = True) -> None:
    """Refuses combinations that would fail later, or that would not do what they say.

    Args:
      batch_ways: Number of parts that the mesh splits the batch into.
      reads_data: Whether the data set has to exist; a step can be planned without it.

    Raises:
      ConfigError: A value isn't allowed. The message names the key and what is allowed.
    """
    _check_names(config)
    _check_towers(config)
    _check_batch(config, batch_ways)
    _check_numbers(config)
    if "finetune" in config:
        _check_finetune(config)
    if reads_data:
        _check_data(config)


def _require(holds: bool, key: str, value, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"config.{key}={value!r}: must be {allowed}")


def _check_names(config: Config) -> None:
    # Imported here because this module is loaded before JAX is set up.
    from scenarioclip_jax.evaluation.score.from_embeddings import SUITES
    from scenarioclip_jax.interop.initial import HEADS
    from scenarioclip_jax.losses.contrastive import KINDS
    from scenarioclip_jax.losses.distillation import SCALINGS
    from scenarioclip_jax.models.attention import KINDS as ATTENTION
    from scenarioclip_jax.models.layers import ACTIVATIONS, REMAT_POLICIES
    from scenarioclip_jax.models.regions import REGIONS
    from scenarioclip_jax.models.scenario_clip import ARCHITECTURES
    from scenarioclip_jax.train.optimizer import MU_DTYPES

    allowed = {
        "arch": ARCHITECTURES,
        "init_heads": HEADS,
        "model.remat": REMAT_POLICIES,
        "model.regions": REGIONS,
        "model.attention": ATTENTION,
        "model.dtype": ("float32", "bfloat16"),
        "loss.kind": KINDS,
        "loss.products": ("auto", "float32", "bfloat16"),
        "optimizer.mu_dtype": MU_DTYPES,
        "ema.keep": ("all", "teacher"),
        "loss.distill.scaling": SCALINGS,
        "model.vision.activation": ACTIVATIONS,
        "model.text.activation": ACTIVATIONS,
    }
    for key, names in allowed.items():
        value = _get(config, key)
        _require(value in names, key, value, f"one of {', '.join(names)}")
    _check_terms(config)
    suites = listed(config.validation.suites)
    _require(
        "zero_shot" in suites and set(suites) <= set(SUITES),
        "validation.suites",
        config.validation.suites,
        f"among {', '.join(SUITES)}, and have zero_shot, whose top-1 says which checkpoint is best",
    )


def _check_terms(config: Config) -> None:
    from scenarioclip_jax.models.scenario_clip import levels_of
    from scenarioclip_jax.train.objective import TERMS

    for name, level in TERMS.items():
        key = f"loss.terms.{name}"
        weight = _get(config, key)
        _require(weight >= 0, key, weight, "0 or more")
        if not weight:
            continue
        _require(
            name == "captions" or len(levels_of(config.arch)) > 1,
            key,
            weight,
            f"0 with arch {config.arch}, which isn't trained on objects and relations",
        )
        if not level:
            continue
        section = CONFIG_KEYS[level]
        if not config.data.levels[section].further_per_scene:
            raise ConfigError(
                f"config.{key}={weight!r} needs further texts in the batch: set "
                f"config.data.levels.{section}.further_per_scene "
                f"({'3 for each relation is a start' if level == 'relation' else '1'})"
            )


def _check_towers(config: Config) -> None:
    from scenarioclip_jax.models.scenario_clip import check_packing, levels_of, pools
    from scenarioclip_jax.models.towers import TextConfig, VisionConfig

    for tower, cls in (("vision", VisionConfig), ("text", TextConfig)):
        with naming(f"model.{tower}"):
            cls(**config.model[tower])
    _require(
        config.arch != "clip" or not config.model.patch_packing,
        "model.patch_packing",
        True,
        "False with arch clip, which sees whole scenes only: no patch of them is black",
    )
    _require(
        not (config.model.patch_packing and pools(config.model.to_dict() | {"arch": config.arch})),
        "model.patch_packing",
        True,
        "False with config.model.regions=pooled: objects and relations are no views that could be packed",
    )
    causal = TextConfig(**config.model.text).causal
    with naming("model"):
        check_packing(config.model.patch_packing, VisionConfig(**config.model.vision))
    _require(
        causal or not config.data.text_row_tokens,
        "data.text_row_tokens",
        config.data.text_row_tokens,
        "0 with config.model.text.pooling=last, whose texts fill max_length tokens each",
    )
    pooled = config.model.regions == "pooled"
    allowed = "1 or more" if pooled else "1 unless config.model.regions=pooled"
    parts = config.model.object_parts
    _require(parts == 1 or (parts > 1 and pooled), "model.object_parts", parts, allowed)
    _require(
        pooled or not config.model.ends_as_objects,
        "model.ends_as_objects",
        config.model.ends_as_objects,
        "False unless config.model.regions=pooled",
    )
    settings = data_settings(config)
    view_settings(config)
    most = config.model.text.max_length
    for level in levels_of(config.arch):
        length = settings.level(level).text_length
        key = f"data.levels.{CONFIG_KEYS[level]}.text_length"
        _require(length <= most, key, length, f"at most {most} (model.text)")
        _require(causal or length == most, key, length, f"{most}, the last token of which is read")


def _check_batch(config: Config, batch_ways: int) -> None:
    groups, parts = config.data.packing_groups, config.loss.accumulate
    _require(
        groups % batch_ways == 0,
        "data.packing_groups",
        groups,
        f"a multiple of {batch_ways}, the parts into which config.mesh splits the batch",
    )
    most = groups // batch_ways
    _require(
        parts > 0 and most % parts == 0,
        "loss.accumulate",
        parts,
        f"a divisor of {most}, the groups that a device holds (data.packing_groups {groups} / {batch_ways})",
    )


POSITIVE = (
    "model.embed_dim",
    "demo_data.num_scenes",
    "optimizer.eps",
    "log_every",
    "checkpoint.every",
    "checkpoint.keep_last",
    "validation.every",
    "optimizer.clip_norm",
    "optimizer.learning_rate",
    "optimizer.lora_scale",
    "optimizer.lora_rate",
    "epochs",
    "loss.distill.temperature",
)
NOT_NEGATIVE = (
    "checkpoint.keep_best",
    "validation.scenes",
    "loss.distill_weight",
    *(f"loss.level_weights.{key}" for key in CONFIG_KEYS.values()),
    "report.scenes",
    "report.queries",
    "ema.warmup_steps",
    "optimizer.skip_nonfinite",
)
SHARES = (
    "ema.decay",
    "optimizer.warmup_fraction",
    "optimizer.warmup_start",
    "optimizer.b1",
    "optimizer.b2",
)


def _check_numbers(config: Config) -> None:
    for key in POSITIVE:
        _require(_get(config, key) > 0, key, _get(config, key), "more than 0")
    for key in NOT_NEGATIVE:
        _require(_get(config, key) >= 0, key, _get(config, key), "0 or more")
    for key in SHARES:
        _require(0 <= _get(config, key) < 1, key, _get(config, key), "at least 0 and below 1")
    decay = config.optimizer.layer_decay
    _require(0 < decay <= 1, "optimizer.layer_decay", decay, "more than 0 and at most 1")
    if config.steps is not None:
        _require(config.steps > 0, "steps", config.steps, "more than 0")
    if distills(config) and not config.ema.decay:
        raise ConfigError(
            f"config.ema.decay=0 leaves {config.arch} without a teacher; set it above 0, or set "
            "config.loss.distill_weight=0"
        )
    if config.ema.decay and config.ema.keep == "teacher" and not distills(config):
        raise ConfigError(
            "config.ema.keep=teacher keeps the average of what distills, and this run distills nothing; set "
            "it to all, or set config.ema.decay=0 to keep no average"
        )


def _check_finetune(config: Config) -> None:
    section, keep = config.finetune, config.checkpoint
    _require(
        section.score in SCORES, "finetune.score", section.score, f"one of {', '.join(SCORES)}"
    )
    suite = SCORES[section.score]
    _require(
        suite in listed(config.validation.suites),
        "validation.suites",
        config.validation.suites,
        f"with {suite}, since config.finetune.score={section.score} chooses by it",
    )
    shares = tuple(section.shares)
    _require(
        all(isinstance(each, int | float) and 0 <= each <= 1 for each in shares),
        "finetune.shares",
        shares,
        "numbers between 0 and 1",
    )
    if section.patience and (config.validation.every % keep.every or not keep.keep_best):
        raise ConfigError(
            f"config.finetune.patience={section.patience} goes back to the step that was best in validation, "
            "which needs a checkpoint: set config.checkpoint.every to config.validation.every="
            f"{config.validation.every}, and config.checkpoint.keep_best to 1 or more"
        )


def _check_data(config: Config) -> None:
    if config.data.tokenizer:
        with naming("data.tokenizer"):
            if check_address(config.data.tokenizer) is None:
                local_path(config.data.tokenizer)
    with naming("data.dir"):
        folders = [entry.path for entry in parse(config.data.dir)] if config.data.dir else []
        missing = [
            folder
            for folder in folders
            if check_address(folder) is None and not local_path(folder).is_dir()
        ]
    if missing:
        where = f", in {config.data.dir!r}" if len(folders) > 1 else ""
        raise ConfigError(
            f"config.data.dir={missing[0]!r}: no such folder{where}; build shards with "
            "python -m scenarioclip_jax.data.build --metadata=DIR --output=DIR"
        )
    if not config.data.dir and config.preset not in DRAWN:
        raise ConfigError(
            f"config.data.dir is empty: the preset {config.preset} trains on your own data; build shards "
            "with python -m scenarioclip_jax.data.build and name their folder"
        )


def chooses_blindly(config: Config, steps: int) -> bool:
    """Whether only the last of `steps` steps has a validated checkpoint, so keep-best has no choice."""
    intervals = config.validation.every, config.checkpoint.every
    return bool(config.checkpoint.keep_best) and max(intervals) < steps <= math.lcm(*intervals)


def distills(config: Config) -> bool:
    """Whether a teacher is run: only `scenario_clip_1` distills."""
    return config.arch == "scenario_clip_1" and config.loss.distill_weight > 0


def plain(config: Config) -> dict:
    """The config as JSON values, for the checkpoint."""

    def value(x):
        if isinstance(x, dict):
            return {k: value(v) for k, v in x.items()}
        if isinstance(x, list | tuple):
            return [value(v) for v in x]
        return x

    return {key: value(each) for key, each in config.to_dict().items()}


def _get(config: Config, key: str):
    for name in key.split("."):
        config = config[name]
    return config


def compilation_cache(config: Config) -> None:
    """Keeps compiled programs on disk, so that a second start of the same run compiles nothing.

    If the folder can't be written, the run continues without a cache.

    Raises:
      ConfigError: It is an address.
    """
    import jax

    if not config.compilation_cache:
        return
    with naming("compilation_cache"):
        require_local(config.compilation_cache)
    try:
        folder = local_path(config.compilation_cache)
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, PathError) as error:
        say(
            f"compiled programs aren't kept: {error}. A second start will compile again; set "
            "config.compilation_cache to a folder that can be written, or to '' for none",
            error=True,
        )
    else:
        jax.config.update("jax_compilation_cache_dir", str(folder))
