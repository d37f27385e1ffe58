"""The training run, top to bottom."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from scenarioclip_jax.checkpoint import CheckpointError, Checkpoints
from scenarioclip_jax.command import Config, ConfigError, naming
from scenarioclip_jax.data.measure import MeasuringStopped
from scenarioclip_jax.data.settings import CONFIG_KEYS
from scenarioclip_jax.lock import hold
from scenarioclip_jax.parallel.chips import peak_flops
from scenarioclip_jax.parallel.distributed import wait_for_all
from scenarioclip_jax.parallel.flops import train_step_flops
from scenarioclip_jax.parallel.mesh import batch_ways, local_groups, make_mesh, put_batch
from scenarioclip_jax.shell import to_paste
from scenarioclip_jax.train import config as configs
from scenarioclip_jax.train.ahead import Alone, LastBatchError, Together, read_ahead
from scenarioclip_jax.train.data import RunData, TooCorruptError, open_data, share_corrupt
from scenarioclip_jax.train.metrics import (
    MetricWriter,
    NonFiniteLossError,
    NullWriter,
    OutputError,
    check_finite,
    finite,
)
from scenarioclip_jax.train.pictures import write_first_batch
from scenarioclip_jax.train.progress import Progress, duration, when_computed
from scenarioclip_jax.train.report import write_report
from scenarioclip_jax.train.resume import World, save, start_or_resume
from scenarioclip_jax.train.setup import (
    Run,
    batch_like,
    check_parameters,
    describe_workdir,
    set_up,
)
from scenarioclip_jax.train.state import TrainState
from scenarioclip_jax.train.stop import StopRequest
from scenarioclip_jax.train.validation import Stopped, Validator


class Watch(NamedTuple):
    """Those who look at a run and change nothing in it."""

    writer: MetricWriter | NullWriter
    progress: Progress
    validator: Validator
    stop: StopRequest


def train(config: Config, workdir: Path) -> None:
    """Trains, validates, checkpoints and ends with a report; goes on from the newest checkpoint.

    Raises:
      ConfigError: the config can't be run, or isn't that of the checkpoints in `workdir`.
      NonFiniteLossError: the loss is no number; the last checkpoint is from before.
      OutputError: `metrics.jsonl` can't be written.
    """
    with naming("mesh"):
        mesh = make_mesh(**config.mesh)
    configs.check(config, batch_ways=batch_ways(mesh))
    with mesh, StopRequest() as stop, contextlib.ExitStack() as at_end:
        check_parameters(config, workdir)
        at_end.enter_context(hold(workdir))
        data = open_data(config, workdir)
        config = configs.resolve(config, eos_id=data.tokenizer.eos_id)
        run = set_up(config, mesh, scenes=len(data.train), tokenizer=data.tokenizer)
        first = jax.process_index() == 0  # the process that prints and writes
        options = {k: config.checkpoint[k] for k in ("keep_last", "keep_best")}
        checkpoints = Checkpoints(workdir, **options, metric="score")
        # Last of all and whatever goes wrong with the others: a save in the background is waited for.
        at_end.callback(checkpoints.close)
        groups = local_groups(mesh, config.data.packing_groups)
        try:
            world = start_or_resume(config, run, data, groups, checkpoints, stop)
        except MeasuringStopped:
            if first:
                print(
                    "stopped while scenes were measured; what was measured is kept: go on with "
                    + to_paste(f"--workdir={workdir}"),
                    flush=True,
                )
            return
        world.batches.give_up = lambda: stop.requested
        if jax.process_count() > 1:
            # The others wait for this one's part of the batch: it is read all the same, and all stop together.
            world.batches.lost_worker = stop.ask
        at_end.callback(world.batches.close)
        step = int(world.state.step)
        if step > run.steps:
            raise ConfigError(
                f"config.steps={run.steps}: the checkpoint is of step {step}; give as many or more"
            )
        if first:  # not before it is known that the workdir belongs to this run
            describe_workdir(config, run, data, workdir)
        watch = Watch(
            MetricWriter(workdir, step, validated=world.validated) if first else NullWriter(),
            make_progress(config, mesh, run, data, step, stop),
            Validator(config, mesh, run, data, stop),
            stop,
        )
        at_end.callback(watch.writer.close)
        if configs.chooses_blindly(config, run.steps):
            watch.progress.say(
                "note: config.validation.every and config.checkpoint.every meet at no step before the last, so "
                "config.checkpoint.keep_best has nothing to choose from; make one a multiple of the other"
            )
        try:
            state = take_steps(config, mesh, run, data, checkpoints, world, watch)
            step = int(state.step)
            if step == run.steps:
                write_report(config, workdir, run, state, data, watch, world.changes)
                # The first process draws; the others' own wait at their end would give up after minutes.
                wait_for_all("the report is drawn", minutes=24 * 60)
        except Stopped:
            step = checkpoints.latest
        if stop.requested:
            watch.progress.say(
                f"stopped at step {step}; go on with {to_paste(f'--workdir={workdir}')}"
            )


def take_steps(
    config: Config,
    mesh: jax.sharding.Mesh,
    run: Run,
    data: RunData,
    checkpoints: Checkpoints,
    world: World,
    watch: Watch,
) -> TrainState:
    """Runs to the last step or to a stop request, and returns when the last state is safe on disk.

    What is due after a step is done at the top of the loop, so that a run that was cut short between a step
    and its validation makes up for it when it goes on.

    An error that lies outside the state (reading, validating, printing) ends the run after the state was saved;
    of several processes, only an error of reading does, at a step that all have agreed on.
    """
    at = Position(world.state)
    try:
        with read_ahead(world.batches, int(world.state.step), run.steps) as ahead:
            return _take_steps(config, mesh, run, data, checkpoints, world, watch, at, ahead)
    except (Stopped, NonFiniteLossError, CheckpointError, OutputError):
        raise  # nothing to save, or nowhere to save it
    except LastBatchError as error:
        _save_before_end(config, checkpoints, world, at)
        raise error.cause from None
    except Exception as error:
        if jax.process_count() == 1 or isinstance(error, TooCorruptError):
            _save_before_end(config, checkpoints, world, at)
        raise


def _take_steps(
    config: Config,
    mesh: jax.sharding.Mesh,
    run: Run,
    data: RunData,
    checkpoints: Checkpoints,
    world: World,
    watch: Watch,
    at: "Position",
    ahead: Alone | Together,
) -> TrainState:
    state, batches, validated, changes = world
    step, metrics, scores = int(state.step), None, None
    if step < run.steps:
        batches.start_prefetch()  # reads while the train step is compiled
        train_step = compile_step(run, data, mesh, watch.progress)
        ahead.start()
    watch.progress.restart(step)
    computed: Callable[[], float] = float  # 0: nothing is being computed
    while True:
        ahead.end(step)
        last = step == run.steps
        try:
            due = last or step % config.validation.every == 0
            if step and due and not validated:
                scores = watch.validator.validate(state, step, watch.writer, watch.progress)
        except Stopped:
            last = True
        last = last or watch.stop()
        if last or (step and step % config.checkpoint.every == 0):
            save(checkpoints, config, state, batches, metrics, scores, changes)
        if last:
            checkpoints.wait()
            return state
        started = time.perf_counter()
        try:
            batch = next(ahead)
        except Exception:
            if not watch.stop.requested:
                raise
            # It was waiting, or a signal to the whole process group ended the reading workers too.
            continue
        # While a step still computes, only this loop waits.
        watch.progress.waited(max(0.0, time.perf_counter() - max(started, computed())))
        previous, scores, validated = metrics, None, False
        state, metrics = train_step(state, put_batch(mesh, batch, config.data.packing_groups))
        at.state, at.metrics = state, metrics
        computed = when_computed(metrics["loss/total"])
        step += 1
        if step == 1:
            write_first_batch(watch.writer.directory, batch, run.view_settings, data.tokenizer)
        if previous is not None:
            # Waits for the step before: one is in flight at most, the host is never ahead of what it reports.
            check_finite(step - 1, previous, config.optimizer.skip_nonfinite)
        if step % config.log_every == 0 or step in (1, run.steps):
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            values = finite(step, values, config.optimizer.skip_nonfinite)
            share_corrupt(batches, f"at step {step}")
            values["data/corrupt_records"] = len(batches.corrupt.reasons)
            watch.writer.write(step, values | watch.progress.report(step, values))
            if step == 1 and values["packing/texts_truncated"]:
                watch.progress.say(
                    f"{values['packing/texts_truncated']:.0f} texts of the first batch were cut to fit ("
                    + ", ".join(
                        f"config.data.levels.{CONFIG_KEYS[level]}.text_length={each.text_length}"
                        for level, each in data.settings.levels.items()
                    )
                    + f"; config.model.text.max_length={config.model.text.max_length}); see "
                    "first_batch.png"
                )


@dataclasses.dataclass
class Position:
    """The last state of the loop, and what its step said."""

    state: TrainState
    metrics: dict[str, jax.Array] | None = None


def _save_before_end(config: Config, checkpoints: Checkpoints, world: World, at: Position) -> None:
    """Saves the state that an error left whole. Whatever goes wrong here hides nothing of that error."""
    if any(x.is_deleted() for x in jax.tree.leaves(at.state)):
        return  # handed over to a step that failed
    try:
        save(
            checkpoints,
            config,
            at.state,
            world.batches,
            at.metrics,
            None,
            world.changes,
            alone=True,
        )
        checkpoints.wait()
        said = f"step {int(at.state.step)} was saved before the run ended by this error:"
    except Exception as error:
        said = (
            f"the state couldn't be saved before the run ended ({str(error)[:200]}) by this error:"
        )
    if jax.process_index() == 0:
        print(said, file=sys.stderr, flush=True)


def make_progress(
    config: Config,
    mesh: jax.sharding.Mesh,
    run: Run,
    data: RunData,
    step: int,
    stop: StopRequest,
) -> Progress:
    flops = train_step_flops(
        run.spec.model,
        run.state_like.trainable,
        data.settings,
        distils=configs.distils(config),
        accumulate=config.loss.accumulate,
        batch_ways=batch_ways(mesh),
    )
    peak = peak_flops(mesh.devices.flat[0].device_kind)
    return Progress(
        run.steps,
        config.data.batch_size,
        flops=flops.model,
        peak=peak and peak * mesh.size,
        start=step,
        quiet=jax.process_index() > 0,
        closed=stop.ask,
    )


def compile_step(run: Run, data: RunData, mesh: jax.sharding.Mesh, progress: Progress):
    """Compiles the train step ahead of its first use; the only compilation of it in a run."""
    progress.say("compiling the train step")
    started = time.perf_counter()
    compiled = run.train_step.lower(run.state_like, batch_like(data.settings, mesh)).compile()
    progress.say(f"compiled in {duration(time.perf_counter() - started)}")
    wait_for_all("the train step is compiled")
    return compiled
