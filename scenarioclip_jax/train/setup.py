"""Builds what a training run consists of: model, optimizer, sharded state, train step."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from clu import parameter_overview
from flax import nnx
from jax.sharding import Mesh, Sharding

from scenarioclip_jax import rules
from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.checkpoint import steps as saved_steps
from scenarioclip_jax.command import Config, ConfigError, naming
from scenarioclip_jax.console import say
from scenarioclip_jax.costs.flops import Flops, train_step_flops
from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.device.views import ViewSettings
from scenarioclip_jax.data.packing.fill import empty_batch
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.files import write_text
from scenarioclip_jax.losses.distillation import distills_with
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.attention import kind_on
from scenarioclip_jax.models.scenario_clip import ScenarioCLIP, levels_of, pools
from scenarioclip_jax.parallel.mesh import batch_sharding, batch_ways, replicated
from scenarioclip_jax.parallel.sharding import parameter_specs, state_shardings
from scenarioclip_jax.train.config import (
    by_level,
    data_settings,
    distills,
    model_arguments,
    plain,
    view_settings,
)
from scenarioclip_jax.train.layer_decay import layer_factors
from scenarioclip_jax.train.optimizer import make_optimizer, warmup_cosine
from scenarioclip_jax.train.state import TrainState, new_state
from scenarioclip_jax.train.step import StepSettings, make_train_step


class Run(NamedTuple):
    """Everything static in a run."""

    config: Config  # resolved and frozen
    mesh: Mesh
    settings: DataSettings
    batch_like: Batch  # the global batch, of jax.ShapeDtypeStruct with shardings
    steps: int  # of the whole run
    graph: nnx.GraphDef[ScenarioCLIP]
    spec: ModelSpec
    view_settings: ViewSettings
    init: Callable[[], TrainState]
    initial: Callable[[], Mapping[str, Any]] | None  # reads config.init_from again; None without it
    state_like: TrainState  # of jax.ShapeDtypeStruct with shardings
    train_step: Any  # jitted: (TrainState, Batch) -> (TrainState, metrics)
    table: str  # what was decided for every parameter


def total_steps(config: Config, scenes: int) -> int:
    """Optimizer steps of the run: `config.steps`, or the number that `config.epochs` amounts to."""
    if config.steps is not None:
        return config.steps
    return max(1, math.ceil(config.epochs * scenes / config.data.batch_size))


def set_up(
    config: Config,
    mesh: Mesh,
    *,
    scenes: int,
    focus_images: bool = False,
    tokenizer: Tokenizer | None = None,
) -> Run:
    """Builds a run; nothing is computed yet.

    Args:
      config: The config, as `train.config.resolve` returns it.
      scenes: Scenes in the training split, of a mixture in those of all its data sets; they decide how many
        steps `config.epochs` amounts to.
      focus_images: Whether the data set has focused regions that are stored as images.
      tokenizer: The data's tokenizer, which is only compared with that of the initial weights
        (`config.init_from`).
    """
    make_model = _model_maker(config, mesh)
    with naming("model"):
        graph, shapes = parameters.abstract(make_model)
    trains = _trains(config, shapes)
    trainable = [path for path, trained in trains.items() if trained]
    steps = total_steps(config, scenes)
    optimizer, schedule = _optimizer(config, trainable, steps)
    assemble = partial(
        new_state, trains=trains, optimizer=optimizer, averaged=partial(_averaged, config)
    )

    def init() -> TrainState:
        _, params = parameters.split(make_model(jax.random.key(config.seed)))
        return assemble(params)

    abstract = jax.eval_shape(init)
    specs = parameter_specs(shapes, mesh)
    shardings = state_shardings(abstract, mesh, specs)
    load = partial(_load_initial, config, tokenizer) if config.init_from else None
    settings = _step_settings(config, trainable, mesh)
    step = make_train_step(graph, optimizer, schedule, view_settings(config), settings)
    data = data_settings(config, focus_images=focus_images)
    return Run(
        config=config,
        mesh=mesh,
        settings=data,
        batch_like=batch_like(data, mesh),
        steps=steps,
        graph=graph,
        spec=model_spec(config),
        view_settings=view_settings(config),
        init=_from_weights(load, jax.jit(assemble, out_shardings=shardings), config)
        if load
        else jax.jit(init, out_shardings=shardings),
        initial=(lambda: load().params) if load else None,
        state_like=jax.tree.map(_like, abstract, shardings),
        train_step=_jitted(step, shardings, mesh),
        table=_table(shapes, trains, specs, config),
    )


def _model_maker(config: Config, mesh: Mesh) -> Callable[..., ScenarioCLIP]:
    """Returns a function that makes the run's model, from a key or else from its seed."""
    arguments = model_arguments(config)
    attention = _attention(config, mesh)

    def make_model(key=None) -> ScenarioCLIP:
        return ScenarioCLIP(
            **arguments, attention=attention, rngs=nnx.Rngs(config.seed if key is None else key)
        )

    return make_model


def _like(x: jax.ShapeDtypeStruct, sharding: Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _jitted(step: Callable, shardings: TrainState, mesh: Mesh) -> Any:
    """The step with the state sharded as it is kept; the old state's memory becomes the new one's."""
    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )


def _from_weights(load: Callable, assemble: Callable, config: Config) -> Callable[[], TrainState]:
    """The start of a run with the weights that `load` reads.

    They are read when a run starts, not when it resumes, and are arguments of the jitted `assemble`, because
    values that such a function closes over are compiled into it.
    """

    def start() -> TrainState:
        params, ema, ema_steps = load()
        if ema_steps is None:  # a teacher of unknown age isn't replaced by the student
            ema_steps = config.ema.warmup_steps
        return assemble(params, ema=ema, ema_steps=ema_steps)

    return start


def step_flops(run: Run) -> Flops:
    """FLOPs of one train step over all devices."""
    return train_step_flops(
        run.spec.model,
        run.state_like.trainable,
        run.settings,
        distills=distills(run.config),
        accumulate=run.config.loss.accumulate,
        batch_ways=batch_ways(run.mesh),
        terms=run.config.loss.terms.to_dict(),
        attention=_attention(run.config, run.mesh),
    )


def _attention(config: Config, mesh: Mesh) -> str:
    """The kernel of attention, which the devices that the step is compiled for decide about."""
    platform = mesh.devices.flat[0].platform
    with naming("model.attention"):
        return kind_on(platform, config.model.attention, config.model.dtype)


def _trains(config: Config, shapes: Mapping[str, Any]) -> dict[str, bool]:
    """Maps each parameter's path to whether it is trained."""
    with naming("trainable"):
        trains = rules.match(config.trainable, shapes, name="trainable")
    if not any(trains.values()):
        raise ConfigError("config.trainable: every parameter is frozen; at least one must train")
    return trains


def _averaged(config: Config, path: str) -> bool:
    """Whether the run keeps the EMA of a trainable parameter."""
    return config.ema.decay > 0 and (config.ema.keep == "all" or distills_with(path))


def check_parameters(config: Config, workdir: Path) -> None:
    """Refuses parameter rules and initial weights that can't be used.

    Separate from `train.config.check` because it needs the model's shapes. It runs before the data is opened,
    which may take long.

    Raises:
      ConfigError: A rule or the initial weights can't be used. The message names the key.
    """
    arguments = model_arguments(config)
    with naming("model"):
        _, shapes = parameters.abstract(lambda: ScenarioCLIP(**arguments, rngs=nnx.Rngs(0)))
    trains = _trains(config, shapes)
    _optimizer(config, [path for path, trained in trains.items() if trained], steps=1)
    if config.init_from and not saved_steps(workdir):  # a run that resumes reads its own weights
        from scenarioclip_jax.interop.initial import check_source

        with naming("init_from"):
            check_source(config.init_from)


def _optimizer(config: Config, trainable: Sequence[str], steps: int):
    """The optimizer and its learning rate as a function of the steps taken."""
    schedule = warmup_cosine(
        steps=steps,
        **{k: config.optimizer[k] for k in ("learning_rate", "warmup_fraction", "warmup_start")},
    )
    names = ("weight_decay", "learning_rate_scale", "b1", "b2", "eps", "clip_norm", "mu_dtype")
    names += ("lora_rank", "lora_scale", "lora_rate")
    arguments = {name: config.optimizer[name] for name in names}
    decay = config.optimizer.layer_decay
    arguments["layers"] = layer_factors(trainable, model_arguments(config), decay)
    with naming("optimizer"):
        arguments["seed"] = config.seed
        return make_optimizer(trainable, schedule=schedule, **arguments), schedule


def _step_settings(config: Config, trainable: Sequence[str], mesh: Mesh) -> StepSettings:
    return StepSettings(
        levels=_computed_levels(config),
        distill_weight=config.loss.distill_weight if distills(config) else 0.0,
        distill=config.loss.distill.to_dict(),
        divergence_weight=config.loss.distill_weight if config.arch == "scenario_clip_2" else 0.0,
        level_weights=by_level(config.loss.level_weights),
        terms=config.loss.terms.to_dict(),
        accumulate=config.loss.accumulate,
        skip_nonfinite=config.optimizer.skip_nonfinite > 0,
        multi_positive=config.loss.multi_positive,
        ema={key: config.ema[key] for key in ("decay", "warmup_steps")},
        patch_size=config.model.vision.patch_size,
        frozen_stem=not any("/stem/" in path for path in trainable),
        sharding=batch_sharding(mesh),
        loss_dtype=loss_dtype(config, mesh),
    )


def _computed_levels(config: Config) -> tuple[str, ...]:
    """The levels that go through the towers: all, or of a fine-tuning those that it teaches."""
    levels, terms = levels_of(config.arch), config.loss.terms
    if config.arch == "scenario_clip_2" and config.loss.distill_weight:
        return levels
    if "finetune" not in config or pools(model_arguments(config)) or terms.parts:
        return levels
    taught = {level for level, weight in by_level(config.loss.level_weights).items() if weight}
    if terms.captions:
        taught.add("global")
    if any(weight for name, weight in terms.items() if name not in ("captions", "parts")):
        taught.add("relation")
    return tuple(level for level in levels if level in taught)


def loss_dtype(config: Config, mesh: Mesh) -> str:
    """The type that `config.loss.products` asks for; `auto`: on accelerators that of the towers."""
    if config.loss.products != "auto":
        return config.loss.products
    return "float32" if mesh.devices.flat[0].platform == "cpu" else config.model.dtype


def _load_initial(config: Config, tokenizer: Tokenizer | None):
    """Reads the initial weights, as `interop.initial.Initial`."""
    from scenarioclip_jax.interop.initial import init_from

    with naming("init_from"):
        spec = model_spec(config)
        return init_from(
            config.init_from,
            model_arguments(config),
            seed=config.seed,
            head=config.init_heads,
            fit=spec.fit,
            region_style=spec.region_style,
            lengths=spec.lengths,
            tokenizer=tokenizer,
        )


def model_spec(config: Config) -> ModelSpec:
    levels = by_level(config.data.levels)
    return ModelSpec(
        model=model_arguments(config),
        lengths={level: each["text_length"] for level, each in levels.items()},
        fit=config.data.fit,
        region_style=config.data.region_style,
    )


def batch_like(settings: DataSettings, mesh: Mesh) -> Batch:
    """The shapes of the global batch, with shardings."""
    sharding = batch_sharding(mesh)

    def all_groups(x) -> jax.ShapeDtypeStruct:
        shape = (settings.packing_groups, *x.shape[1:])
        return jax.ShapeDtypeStruct(shape, x.dtype, sharding=sharding)

    # Made from one group, because a batch of all groups may not fit into a host's memory.
    return jax.tree.map(all_groups, empty_batch(1, settings.canvas_size, settings))


@dataclasses.dataclass(frozen=True)
class ParameterRow:
    """What was decided for a parameter."""

    parameter: str
    shape: str
    trains: str
    decay: str
    partition: str


def _table(shapes, trains, specs, config) -> str:
    """A table with one line per parameter, then their number."""
    decay = rules.match(config.optimizer.weight_decay, shapes, name="weight decay")
    rows = [
        ParameterRow(
            path,
            "x".join(map(str, leaf.shape)) or "scalar",
            "yes" if trains[path] else "frozen",
            f"{decay[path]:g}" if trains[path] else "-",
            ", ".join(str(axis or "-") for axis in specs[path]) or "replicated",
        )
        for path, leaf in shapes.items()
    ]
    count = sum(math.prod(leaf.shape) for leaf in shapes.values())
    trained = sum(math.prod(leaf.shape) for path, leaf in shapes.items() if trains[path])
    total = f"{count / 1e6:.2f} M parameters, {trained / 1e6:.2f} M of them trained"
    return f"{parameter_overview.make_table(rows, value_formatter=str)}\n{total}"


def describe_workdir(run: Run, tokenizer: Tokenizer, workdir: Path) -> None:
    """Writes what belongs beside the checkpoints: spec, tokenizer, config and parameter table."""
    run.spec.write(workdir)
    write_text(workdir / "tokenizer.json", tokenizer.to_json())
    write_text(workdir / "config.json", json.dumps(plain(run.config), indent=2) + "\n")
    write_text(workdir / "parameters.txt", run.table + "\n")
    say(f"{run.table.splitlines()[-1]}, see {workdir / 'parameters.txt'}")
