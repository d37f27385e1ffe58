"""From a config to the arguments of the real constructors; refuses a bad config before anything slow starts."""

import contextlib
import difflib
import re
import runpy
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from scenarioclip_jax.data.settings import DataSettings

OVERRIDE = re.compile(r"--(?:no)?config\.([\w.]+)(?:=.*)?")


class ConfigError(ValueError):
    """A config that can't be run. The message names the key and what is allowed."""


def explain_flags(argv: list[str]) -> str | None:
    """What is wrong with the config's flags: no such file or preset, or a key that the config doesn't have.

    ml_collections stops at such a flag too, but tells neither the whole key nor what there is instead.
    """
    files = [arg.split("=", 1)[1] for arg in argv if arg.startswith("--config=")]
    if not files:
        return "--config is missing; try --config=configs/pretrain.py"
    path, _, preset = files[-1].partition(":")
    try:
        config = runpy.run_path(path)["get_config"](*([preset] if preset else []))
    except (OSError, KeyError, ValueError, TypeError) as error:
        return f"--config={files[-1]}: {error}"
    for arg in argv:
        match = OVERRIDE.fullmatch(arg)
        node, walked = config, "config"
        for name in match[1].split(".") if match else ():
            if not isinstance(node, ConfigDict) or name not in node:
                known = sorted(node) if isinstance(node, ConfigDict) else []
                close = difflib.get_close_matches(name, known, n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                return (
                    f"{walked}.{name}: no such key{hint}; {walked} has {', '.join(known) or 'none'}"
                )
            node, walked = node[name], f"{walked}.{name}"
    return None


@contextlib.contextmanager
def naming(prefix: str):
    """Turns what a constructor says of its arguments into a ConfigError that names the config's key."""
    try:
        yield
    except ConfigError:
        raise
    except (TypeError, ValueError, ZeroDivisionError, FileNotFoundError, FileExistsError) as error:
        # What already names the key needs it only to be placed below `config`.
        text = str(error).removeprefix("config.")
        named = text.startswith(prefix.split(".")[0])
        raise ConfigError(f"config.{text}" if named else f"config.{prefix}: {text}") from error


def model_arguments(config: ConfigDict) -> dict[str, Any]:
    """Arguments of `ScenarioCLIP` without `rngs`, as plain values."""
    bias = {"logit_bias": True} if config.loss.kind == "sigmoid" else {}
    return {"arch": config.arch, **config.model.to_dict(), **bias}


def data_settings(config: ConfigDict, **changes) -> DataSettings:
    """The input pipeline's settings; what follows from the model or the run isn't set twice."""
    values = {k: v for k, v in config.data.items() if k not in ("dir", "tokenizer")}
    values |= {"image_size": config.model.vision.image_size, "seed": config.seed} | changes
    with naming("data"):
        return DataSettings(**values)


def check(config: ConfigDict, *, batch_ways: int) -> None:
    """Refuses combinations that would fail later, or do something else than they say.

    Args:
      batch_ways: parts that the mesh splits the batch into.

    Raises:
      ConfigError: names the key and what is allowed.
    """
    # Imported here: this module is loaded before JAX is set up.
    from scenarioclip_jax.data.views import ViewSettings
    from scenarioclip_jax.losses.contrastive import KINDS
    from scenarioclip_jax.losses.distillation import SCALINGS
    from scenarioclip_jax.models.layers import ACTIVATIONS, REMAT_POLICIES
    from scenarioclip_jax.models.scenario_clip import ARCHITECTURES, levels_of
    from scenarioclip_jax.models.towers import TextConfig, VisionConfig

    def require(holds: bool, key: str, value, allowed: str) -> None:
        if not holds:
            raise ConfigError(f"config.{key}={value!r}: must be {allowed}")

    def one_of(key: str, value, allowed) -> None:
        require(value in allowed, key, value, f"one of {', '.join(map(str, allowed))}")

    one_of("arch", config.arch, ARCHITECTURES)
    one_of("model.remat", config.model.remat, tuple(REMAT_POLICIES))
    one_of("model.dtype", config.model.dtype, ("float32", "bfloat16"))
    one_of("loss.kind", config.loss.kind, KINDS)
    one_of("loss.distill.scaling", config.loss.distill.scaling, SCALINGS)
    for tower, cls in (("vision", VisionConfig), ("text", TextConfig)):
        one_of(f"model.{tower}.activation", config.model[tower].activation, tuple(ACTIVATIONS))
        with naming(f"model.{tower}"):
            cls(**config.model[tower])
    settings = data_settings(config)
    with naming("views"):
        ViewSettings(fit=settings.fit, **config.views)
    require(
        settings.groups % batch_ways == 0,
        "data.groups",
        settings.groups,
        f"a multiple of {batch_ways}, the parts into which config.mesh splits the batch",
    )
    most = settings.groups // batch_ways
    require(
        config.loss.accumulate > 0 and most % config.loss.accumulate == 0,
        "loss.accumulate",
        config.loss.accumulate,
        f"a divisor of {most}, the groups that a device holds (data.groups {settings.groups} / {batch_ways})",
    )
    for level in levels_of(config.arch):
        key = "scene_length" if level == "global" else f"{level}_length"
        most = config.model.text.max_length
        require(
            config.data[key] <= most,
            f"data.{key}",
            config.data[key],
            f"at most {most} (model.text)",
        )
    positive = [
        "model.embed_dim",
        "embedded.num_scenes",
        "optimizer.eps",
        "log_every",
        "checkpoint.every",
        "checkpoint.keep_last",
        "validation.every",
    ]
    positive += ["optimizer.clip_norm", "optimizer.peak", "epochs", "loss.distill.temperature"]
    for key in positive:
        value = _get(config, key)
        require(value > 0, key, value, "more than 0")
    for key in (
        "checkpoint.keep_best",
        "validation.scenes",
        "loss.distill_weight",
        "report.scenes",
        "report.retrievals",
        "ema.warmup_steps",
        "optimizer.skip_nonfinite",
    ):
        require(_get(config, key) >= 0, key, _get(config, key), "0 or more")
    for key in (
        "ema.decay",
        "optimizer.warmup_fraction",
        "optimizer.start_factor",
        "optimizer.b1",
        "optimizer.b2",
    ):
        require(0 <= _get(config, key) < 1, key, _get(config, key), "at least 0 and below 1")
    if config.steps is not None:
        require(config.steps > 0, "steps", config.steps, "more than 0")
    if distils(config) and not config.ema.decay:
        raise ConfigError(
            f"config.ema.decay=0 leaves {config.arch} without a teacher; set it above 0, or set "
            "config.loss.distill_weight=0"
        )
    if config.data.dir and not Path(config.data.dir).expanduser().is_dir():
        raise ConfigError(
            f"config.data.dir={config.data.dir!r}: no such folder; build shards with "
            "python -m scenarioclip_jax.data.build --metadata=DIR --output=DIR"
        )
    if not config.data.dir and config.preset != "demo":
        raise ConfigError(
            f"config.data.dir is empty: the preset {config.preset} trains on your own data; build shards "
            "with python -m scenarioclip_jax.data.build and name their folder"
        )


def distils(config: ConfigDict) -> bool:
    """Whether a teacher is run: only `scenario_clip_1` distils."""
    return config.arch == "scenario_clip_1" and config.loss.distill_weight > 0


def plain(config: ConfigDict) -> dict:
    """The config as JSON values, for the checkpoint."""

    def value(x):
        if isinstance(x, dict):
            return {k: value(v) for k, v in x.items()}
        if isinstance(x, list | tuple):
            return [value(v) for v in x]
        return x

    return value(config.to_dict())


def _get(config: ConfigDict, key: str):
    for name in key.split("."):
        config = config[name]
    return config


def compilation_cache(config: ConfigDict) -> None:
    """Keeps compiled programs on disk: a second start of the same run compiles nothing."""
    import jax

    if config.compilation_cache:
        folder = Path(config.compilation_cache).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
