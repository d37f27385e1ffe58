"""The training run, top to bottom."""

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.command import Config, ConfigError, naming
from scenarioclip_jax.console import say
from scenarioclip_jax.costs.chips import peak_flops
from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.packing.measure import MeasuringStopped
from scenarioclip_jax.data.settings import CONFIG_KEYS, DataSettings
from scenarioclip_jax.parallel.distributed import wait_for_all
from scenarioclip_jax.parallel.mesh import batch_ways, make_mesh, put_batch
from scenarioclip_jax.shell import to_paste
from scenarioclip_jax.train import best
from scenarioclip_jax.train import config as configs
from scenarioclip_jax.train.ahead import Alone, LastBatchError, Together, read_ahead
from scenarioclip_jax.train.checkpoints import Checkpoints
from scenarioclip_jax.train.data import (
    RunData,
    TooCorruptError,
    keep_photos,
    open_data,
    share_corrupt,
)
from scenarioclip_jax.train.finetune import with_model
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
from scenarioclip_jax.train.resume import World, go_back, save, start_or_resume
from scenarioclip_jax.train.setup import Run, check_parameters, describe_workdir, set_up, step_flops
from scenarioclip_jax.train.state import TrainState
from scenarioclip_jax.train.stop import StopRequest
from scenarioclip_jax.train.times_read import as_metrics, drawn, told
from scenarioclip_jax.train.validation import Stopped, Validator
from scenarioclip_jax.train.watch import Watch
from scenarioclip_jax.workdir import open_workdir


def train(config: Config, workdir: str | Path) -> None:
    """Trains, validates, saves checkpoints and writes a report; resumes from the newest checkpoint.

    Args:
      config: The config.
      workdir: Folder for all that the run writes; local or an address in a bucket.

    Raises:
      ConfigError: The config can't be run, or differs from that of the checkpoints in `workdir`.
      NonFiniteLossError: The loss is NaN or infinite; the last checkpoint is from before that.
      OutputError: `metrics.jsonl` can't be written.
    """
    config = with_model(config, workdir)
    with naming("mesh"):
        mesh = make_mesh(**config.mesh)
    configs.check(config, batch_ways=batch_ways(mesh))
    with mesh, StopRequest() as stop, contextlib.ExitStack() as at_end:
        place = at_end.enter_context(
            open_workdir(workdir, partial(check_parameters, config), lambda: stop.requested)
        )
        workdir = place.folder
        data = open_data(config, workdir)
        run = set_up(
            configs.resolve(config, eos_id=data.tokenizer.eos_id),
            mesh,
            scenes=len(data.train),
            focus_images=data.settings.focus_images,
            tokenizer=data.tokenizer,
        )
        best.check_workdir(run.config, in_bucket=place.mirror is not None)
        first = jax.process_index() == 0  # the process that prints and writes
        options = {k: config.checkpoint[k] for k in ("keep_last", "keep_best")}
        checkpoints = Checkpoints(workdir, **options, metric="score", mirror=place.mirror)
        # Runs last, whatever else goes wrong, and waits for a save in the background.
        at_end.callback(checkpoints.close)
        try:
            world = start_or_resume(run, data, checkpoints, stop)
        except MeasuringStopped:
            if first:
                say(
                    "stopped while scenes were measured; what was measured is kept: go on with "
                    + to_paste(f"--workdir={place.name}")
                )
            return
        at_end.callback(world.batches.close)
        _let_stop(world, stop)
        if world.step > run.steps:
            raise ConfigError(
                f"config.steps={run.steps}: the checkpoint is of step {world.step}; give as many or more"
            )
        if first:  # only now is it known that the workdir belongs to this run
            describe_workdir(run, data.tokenizer, workdir)
            keep_photos(config, data, workdir)
        watch = _watch(run, world, data, stop, workdir if first else None)
        at_end.callback(watch.writer.close)
        try:
            saved = _to_the_end(run, world, data, watch, workdir)
        except Stopped:
            saved = checkpoints.latest
        if stop.requested:
            watch.progress.say(
                f"stopped at step {saved}; go on with {to_paste(f'--workdir={place.name}')}"
            )


def _let_stop(world: World, stop: StopRequest) -> None:
    """Lets a stop request end the wait for a batch."""
    world.batches.give_up = lambda: stop.requested
    if jax.process_count() > 1:
        # The others wait for this process's part of the batch, so it reads on, and all stop together.
        world.batches.lost_worker = stop.ask


def _watch(run: Run, world: World, data: RunData, stop: StopRequest, workdir: Path | None) -> Watch:
    """What follows a run; says what is worth knowing before it begins. Without a workdir it writes nothing."""
    writer = (
        NullWriter()
        if workdir is None
        else MetricWriter(workdir, world.step, validated=world.validated)
    )
    watch = Watch(
        writer,
        make_progress(run, world.step, stop),
        Validator(run, data, stop),
        stop,
        data.tokenizer,
        partial(drawn, data),
    )
    if parts := watch.drawn(run.steps):
        watch.progress.say(f"data of the {run.steps} steps: {told(parts)}")
    if configs.chooses_blindly(run.config, run.steps):
        watch.progress.say(
            "note: config.validation.every and config.checkpoint.every meet at no step before the last, so "
            "config.checkpoint.keep_best has nothing to choose from; make one a multiple of the other"
        )
    return watch


def _to_the_end(run: Run, world: World, data: RunData, watch: Watch, workdir: Path) -> int:
    """Takes the steps that are left and writes the report; returns the step that is saved."""
    ended = best.has_ended(workdir, world.step, run.steps)
    if not ended:
        take_steps(run, world, watch)
        ended = go_back_to_best(run, world, watch, workdir)
    if world.step == run.steps or ended:
        write_report(run, world, data, watch, workdir)
        # The first process draws. The others' wait at exit would time out after a few minutes.
        wait_for_all("the report is drawn", minutes=24 * 60)
    return world.step


def go_back_to_best(run: Run, world: World, watch: Watch, workdir: Path) -> bool:
    """Goes back to the best step of a fine-tuning that has ended; returns whether that was another one."""
    last, found = world.step, world.best
    over = last == run.steps or best.is_over(run.config, found)
    if not best.patience(run.config) or not over or found is None or found.step == last:
        return False
    if not world.validated and world.scores is None:
        return False  # a stop came during the validation that decides, so it is done when the run goes on
    watch.progress.say(
        f"ended at step {last}: validation was best at step {found.step}, whose weights are kept; later "
        "ones are removed"
    )
    go_back(run, world, found.step)
    best.remember(workdir, found.step, last, run.steps)
    return True


def take_steps(run: Run, world: World, watch: Watch) -> None:
    """Runs to the last step or to a stop request, and returns when the last state is safe on disk.

    After an error that leaves the state intact (in reading, validating or printing), the state is saved before
    the run ends. With several processes this holds only for errors in reading, at a step that all agree on.
    """
    try:
        with read_ahead(world.batches, world.step, run.steps) as batches:
            _take_steps(run, world, watch, batches)
    except (Stopped, NonFiniteLossError, CheckpointError, OutputError):
        raise  # nothing to save, or nowhere to save it
    except LastBatchError as error:
        save_before_end(run, world)
        raise error.cause from None
    except Exception as error:
        if jax.process_count() == 1 or isinstance(error, TooCorruptError):
            save_before_end(run, world)
        raise


def _take_steps(run: Run, world: World, watch: Watch, batches: Alone | Together) -> None:
    train_step = None
    if world.step < run.steps:
        world.batches.start_prefetch()  # reads while the train step compiles
        train_step = compile_step(run, watch.progress)
        batches.start()
    watch.progress.restart(world.step)
    computed: Callable[[], float] = nothing_computes
    while True:
        # Comes before any collective: if batches end here, they end here in every process.
        batches.end(world.step)
        if is_last := validate_and_save(run, world, watch):
            world.checkpoints.wait()
        if is_last or train_step is None:
            return
        batch = fetch(batches, watch, computed)
        if batch is None:
            continue  # a stop was requested during the wait; the state is saved at the top of the loop
        previous = world.metrics
        # The step takes the old state's buffers, so `world` must get the new state at once: nothing that may
        # fail comes between the step and these assignments.
        world.state, world.metrics = train_step(
            world.state, put_batch(run.mesh, batch, run.settings.packing_groups)
        )
        world.step += 1
        world.validated, world.scores = False, None
        computed = when_computed(world.metrics["loss/total"])
        if world.step == 1:
            folder = watch.writer.directory
            write_first_batch(folder, batch, run.view_settings, watch.tokenizer)
            if folder is not None and (drawing := folder / "first_batch.png").is_file():
                watch.writer.picture(world.step, "first_batch", drawing.read_bytes())
            longest = run.config.model.text.max_length
            if note := describe_cut_texts(batch, run.settings, longest):
                watch.progress.say(note)
        if previous is not None:
            # Waits for the previous step: at most one step is in flight, so reports never lag behind.
            check_finite(world.step - 1, previous, run.config.optimizer.skip_nonfinite)
        if world.step % run.config.log_every == 0 or world.step in (1, run.steps):
            log_step(run, world, watch)


def validate_and_save(run: Run, world: World, watch: Watch) -> bool:
    """Validates and saves if that is due before the next step; returns whether the run ends here.

    This runs at the top of the loop rather than after a step, so that a run that was interrupted between a step
    and its validation catches up when it resumes. Validation comes first because a checkpoint holds its scores.
    """
    step, last = world.step, world.step == run.steps
    try:
        wanted = last or step % run.config.validation.every == 0
        if step and wanted and not world.validated:
            if jax.process_count() > 1:
                # If one process fails in there, the others wait for it and can't save any more.
                save(run, world)
            world.scores = watch.validator.validate(world.state, step, watch.writer, watch.progress)
            if world.scores is not None:
                world.best = best.better(world.best, step, world.scores["score"])
    except Stopped:
        last = True
    last = last or best.is_over(run.config, world.best)
    last = last or watch.stop()  # every process asks at the same steps, since all have to agree
    due = step and step % run.config.checkpoint.every == 0
    if last or due or world.checkpoints.latest == step:
        save(run, world)  # or adds the scores to what is saved already
    return last


def fetch(batches: Alone | Together, watch: Watch, computed: Callable[[], float]) -> Batch | None:
    """Returns the next batch, or None if a stop was requested while waiting for it.

    Args:
      computed: Returns the time at which the previous step finished, see `train.progress.when_computed`.
    """
    started = time.perf_counter()
    try:
        batch = next(batches)
    except Exception:
        if not watch.stop.requested:
            raise
        # The stop came during the wait, or a signal to the whole process group also ended the reading workers.
        return None
    # While a step is still computing, only this loop waits, not the device.
    watch.progress.waited(max(0.0, time.perf_counter() - max(started, computed())))
    return batch


def nothing_computes() -> float:
    """Stands in for `when_computed` before the first step: the last one finished long ago."""
    return 0.0


def log_step(run: Run, world: World, watch: Watch) -> None:
    """Writes the last step's metrics once they are computed."""
    step, config = world.step, run.config
    values = {name: float(value) for name, value in jax.device_get(world.metrics).items()}
    values = finite(step, values, config.optimizer.skip_nonfinite)
    share_corrupt(world.batches, f"at step {step}")
    values["data/corrupt_records"] = len(world.batches.corrupt.reasons)
    values |= as_metrics(watch.drawn(step))
    watch.writer.write(step, values | watch.progress.report(step, values))


def describe_cut_texts(batch: Batch, settings: DataSettings, max_length: int) -> str:
    """Says which levels of a batch have texts that were cut, and how long these are; empty if none has.

    Args:
      batch: This process's groups.
      max_length: Most tokens that the text towers take.
    """
    longest = {level: int(slots.longest.max()) for level, slots in batch.levels.items()}
    cut = [
        f"{CONFIG_KEYS[level]} texts have up to {longest[level]} tokens and "
        f"config.data.levels.{CONFIG_KEYS[level]}.text_length={each.text_length}"
        for level, each in settings.levels.items()
        if longest[level] > each.text_length
    ]
    if not cut:
        return ""
    return (
        f"{int(batch.truncated.sum())} texts of the first batch were cut to fit: {'; '.join(cut)} "
        f"(config.model.text.max_length={max_length} is the most); see first_batch.png"
    )


def save_before_end(run: Run, world: World) -> None:
    """Saves the state if an error left it intact. A failure in here doesn't hide that error."""
    if any(x.is_deleted() for x in jax.tree.leaves(world.state)):
        return  # donated to a step that failed
    world.scores = None
    try:
        save(run, world, alone=True)
        world.checkpoints.wait()
        said = f"step {world.step} was saved before the run ended by this error:"
    except Exception as error:
        said = (
            f"the state couldn't be saved before the run ended ({str(error)[:200]}) by this error:"
        )
    if jax.process_index() == 0:
        say(said, error=True)


def make_progress(run: Run, step: int, stop: StopRequest) -> Progress:
    peak = peak_flops(run.mesh.devices.flat[0].device_kind)
    return Progress(
        run.steps,
        run.settings.batch_size,
        flops=step_flops(run).model,
        peak=None if peak is None else peak * run.mesh.size,
        start=step,
        quiet=jax.process_index() > 0,
        closed=stop.ask,
    )


def compile_step(
    run: Run, progress: Progress
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Compiles the train step before its first use; a run compiles it only here."""
    progress.say("compiling the train step")
    started = time.perf_counter()
    compiled = run.train_step.lower(run.state_like, run.batch_like).compile()
    progress.say(f"compiled in {duration(time.perf_counter() - started)}")
    wait_for_all("the train step is compiled")
    return compiled
