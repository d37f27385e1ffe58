"""The input pipeline: chooses the scenes of each batch and reads them ahead of time, with Grain.

The order of the data is a pure function of (seed, step), see `order`. A process loads only the scenes of its
own groups, so the global batches are the same on any number of processes, workers and threads.
"""

import contextlib
import dataclasses
import multiprocessing
import re
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import grain
import numpy as np
from absl import flags

from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.corrupt import (
    Corrupt,
    CorruptDataError,
    CorruptLog,
    Refused,
    name_some,
    read_and_make,
)
from scenarioclip_jax.data.epochs import epochs_of
from scenarioclip_jax.data.global_text import draw_global_text
from scenarioclip_jax.data.order import Balanced, Order, Sequential
from scenarioclip_jax.data.packing.choose import Item, pack_training_group
from scenarioclip_jax.data.packing.fill import BatchBuilder
from scenarioclip_jax.data.packing.measure import ALONE, Crew
from scenarioclip_jax.data.packing.sizes import load_or_measure
from scenarioclip_jax.data.photo import fit_scene
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.source import Mixture, ShuffledTexts, Source, identity_digest
from scenarioclip_jax.data.stall import StalledInputError, init_worker, within
from scenarioclip_jax.data.stored.scene import Scene
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.faults import InputUnavailableError

REPLACEMENTS = 8  # records tried in place of a corrupt one before giving up
_WORKER_NAME = "grain-"  # how names of processes that Grain starts begin
SHARED_BYTES = 1 << 16  # arrays of at least this size come from a worker through shared memory


class TrainingBatches:
    """A pure function from a step to its local batch, run in threads or worker processes."""

    def __init__(
        self,
        source: Source,
        tokenizer: Tokenizer,
        settings: DataSettings,
        groups: Sequence[int],
        order: Order | None = None,
    ):
        """Takes the groups of a batch to load and the order of the scenes; default: `Sequential`."""
        self._source, self._tokenizer, self._settings = source, tokenizer, settings
        self._groups, self._order = groups, order or Sequential(settings)
        self._epochs = epochs_of(source)

    def __call__(self, step: int) -> tuple[Batch, list[Corrupt]] | Refused:
        """Loads and packs this process's groups of a step's global batch."""
        settings, corrupt = self._settings, []
        builder = BatchBuilder(len(self._groups), settings.canvas_size, settings)
        for row, group in enumerate(self._groups):
            items = []
            for position in self._order(step, group):
                item = self._load(position, corrupt)
                if isinstance(item, Refused):
                    return item  # returned, not raised: from a worker, an error arrives as text
                items.append(item)
            builder.add(row, *pack_training_group(items, settings, self._tokenizer))
        batch, _ = builder.finish(self._tokenizer)
        return batch, corrupt

    def _load(self, position: int, corrupt: list[Corrupt]) -> Item | Refused:
        """Loads the scene at a position of the endless sequence, or another one if its record is corrupt."""
        settings = self._settings
        index = self._epochs.record(settings.seed, position)
        seeds = np.random.SeedSequence([settings.seed, position]).generate_state(1 + REPLACEMENTS)
        for attempt in range(1 + REPLACEMENTS):
            item = load_item(self._source, index, int(seeds[0]), settings, settings.canvas_size)
            if not isinstance(item, Corrupt):
                return item
            corrupt.append(item)
            index = self._epochs.replacement(index, int(seeds[1 + attempt % REPLACEMENTS]))
        raise CorruptDataError(
            f"position {position}: {1 + REPLACEMENTS} records in a row are corrupt: "
            f"{name_some({each.index: each.reason for each in corrupt})}"
        )


def load_item(
    source: Source, index: int, seed: int, settings: DataSettings, canvas_size: int | None
) -> Item | Corrupt | Refused:
    """Reads a record and fits its images; `canvas_size` is that of `photo.fit_scene`.

    If the system refuses to read it, this is tried again after a while.
    """

    def make(scene: Scene) -> Item:
        fitted = fit_scene(
            scene, settings.image_size, settings.fit, canvas_size, settings.region_style
        )
        return Item(scene, fitted, seed, draw_global_text(scene, settings, seed))

    return read_and_make(source, index, make)


class TrainIterator:
    """Endless iterator of local batches, read ahead.

    Its state holds the next step, the corrupt records so far and the settings that must not change, so that a
    checkpoint can be resumed on any number of processes, workers and threads.

    Attributes:
      step: Step of the next batch.
      corrupt: Corrupt records so far: those that this process met and those that it was told about.
      give_up: Called while waiting for a batch; returning True ends the wait with StalledInputError.
      lost_worker: Called when the system ended a reading worker, after which this process reads by itself. If
        None, a lost worker is an error.
    """

    def __init__(
        self,
        batches: TrainingBatches,
        settings: DataSettings,
        records: int,
        balance: str = "",
        source: str = "",
        mixture: Sequence[dict] = (),
    ):
        """Takes, as `balance`, the digest of the sizes if the order depends on them.

        `source` is the digest of the data, and `mixture` the parts of a `Mixture`.
        """
        self._batches, self._settings, self._records = batches, settings, records
        self._balance, self._source, self._mixture = balance, source, list(mixture)
        self._iterator: grain.DatasetIterator | None = None
        self.step = 0
        self.corrupt = CorruptLog(records, settings.max_corrupt_share)
        self.give_up: Callable[[], bool] = lambda: False
        self.lost_worker: Callable[[str], None] | None = None

    def __iter__(self) -> "TrainIterator":
        return self

    def __next__(self) -> Batch:
        self.start_prefetch()
        assert self._iterator is not None  # the line above has made it
        what = f"the batch of step {self.step + 1}"
        seconds = self._settings.stall_seconds
        try:
            read = within(seconds, self._iterator.__next__, what, self._workers, self.give_up)
        except StalledInputError:
            self._iterator = None  # closing it would wait for the stuck thread
            raise
        except Exception as error:
            lost = _lost_worker(error)
            if lost is None:
                raise
            if self.lost_worker is None:
                raise lost from error
            self._iterator = None
            self._settings = dataclasses.replace(self._settings, num_workers=0)
            self.lost_worker(str(lost))
            return next(self)
        if isinstance(read, Refused):
            raise read.error()
        batch, corrupt = read
        self.corrupt.add(corrupt)
        self.step += 1  # only now: a run that ends with an error resumes at this batch
        return batch

    def start_prefetch(self) -> None:
        """Starts reading, for example while the train step is compiled."""
        if self._iterator is not None:
            return
        self._others = (
            multiprocessing.active_children()
        )  # children of the program that uses this iterator
        settings, steps = self._settings, grain.MapDataset.range(self.step, sys.maxsize)
        workers = settings.num_workers
        # A worker makes one batch at a time; without workers, each thread makes one.
        threads = 0 if workers else settings.num_threads
        ahead = 0 if workers else max(threads, settings.prefetch)
        dataset = steps.map(self._batches).to_iter_dataset(grain.ReadOptions(threads, ahead))
        if workers:
            if not flags.FLAGS.is_parsed():  # a notebook or a test: Grain's workers read absl flags
                flags.FLAGS.mark_as_parsed()
            # Only images are worth a block of shared memory; small arrays are pickled.
            shared = grain.experimental.DatasetOptions(min_shm_size=SHARED_BYTES)
            dataset = grain.experimental.WithOptionsIterDataset(dataset, shared).mp_prefetch(
                grain.MultiprocessingOptions(workers, per_worker_buffer_size=settings.prefetch),
                worker_init_fn=init_worker,
            )
        self._iterator = iter(dataset)
        self._iterator.start_prefetch()

    def _workers(self) -> list[BaseProcess]:
        """The processes that Grain has started for this iterator: the only ones that may be ended.

        The program may start processes of its own at any time; Grain's are told by their names.
        """
        found = [p for p in multiprocessing.active_children() if p not in self._others]
        return [p for p in found if p.name.startswith(_WORKER_NAME)]

    def get_state(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        mixture = {"mixture": self._mixture} if self._mixture else {}
        fixed = self._fixed() | mixture
        return {"step": self.step, "corrupt": sorted(self.corrupt.reasons), **fixed}

    def set_state(self, state: dict[str, Any], *, regrouped: bool = False) -> None:
        """Moves to the position of `state`.

        Args:
          regrouped: Whether batches have a different number of groups from here on. They hold the same scenes,
            but other objects and relations may be left without a slot. With `balance` a scene may also move to
            another batch, so some scenes of the current window may appear twice or not at all.

        Raises:
          ValueError: The state belongs to another seed, batch size, data set or mixture.
        """
        if (saved := state.get("mixture", [])) != self._mixture:
            raise ValueError(_other_mixture(saved, self._mixture))
        for name, value in self._fixed().items():
            if name == "source" and not (value and state.get(name)):
                continue  # saved before this was noted, or a source that can't be told apart
            if state.get(name, "") != value and not (regrouped and name == "groups"):
                if name == "source":
                    raise ValueError(
                        "the training split isn't the one that the run was trained on: the data set was "
                        "built again, or config.data.dir names another one. Name the folder that it was "
                        "trained on, or start a new workdir"
                    )
                if name == "balance" and value and state.get(name):
                    raise ValueError(
                        "data.balance deals scenes by their sizes, and these are others than when the data "
                        "position was saved: the data set, the tokenizer or a setting in data.* changed, or a "
                        "scene couldn't be read when they were measured. Resume with the saved settings; if "
                        "nothing changed, delete sizes-*.npz beside the shards and start again"
                    )
                raise ValueError(
                    f"the data position was saved with {name}={state.get(name)!r} and this run has {value!r}: "
                    "it would not be continued but started on other data; resume with the saved "
                    "setting, or start a new workdir"
                )
        self.close()
        self.step = state["step"]
        self.corrupt = CorruptLog(self._records, self._settings.max_corrupt_share)
        self.corrupt.know(state["corrupt"])

    def _fixed(self) -> dict[str, int | str]:
        settings = self._settings
        return {
            "seed": settings.seed,
            "batch_size": settings.batch_size,
            "groups": settings.packing_groups,
            "records": self._records,
            "balance": self._balance,
            "source": self._source,
        }

    def close(self) -> None:
        """Stops the threads and worker processes; the iterator can be used again afterwards."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None


def _other_mixture(saved: Sequence[dict], given: Sequence[dict]) -> str:
    """Explains that a position belongs to another mixture, and what to do."""

    def told(parts: Sequence[dict]) -> str:
        if not parts:
            return "a single data set"
        total = sum(int(part["weight"]) for part in parts)
        return "a mixture of " + " and ".join(
            f"{int(part['weight']) / total:.4g} of {part['scenes']} scenes" for part in parts
        )

    other = "" if told(saved) != told(given) else ", but not the same ones or not in the same order"
    return (
        f"the data position was saved with {told(saved)}, and config.data.dir names {told(given)}{other}: the "
        "run would not be continued but started on other data. Give the same data sets with the same weights "
        "in the same order (WORKDIR/config.json names them), or start a new workdir"
    )


def _lost_worker(error: Exception) -> InputUnavailableError | None:
    """Explains what to do about a reading worker that the system ended; None for any other error."""
    found = re.search(r"terminated unexpectedly with exit code (-?\d+)", str(error))
    if not found:
        return None
    code = int(found[1])
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    free = ""
    with contextlib.suppress(OSError):
        usage = shutil.disk_usage("/dev/shm")
        free = f" ({usage.free / 1e6:.0f} of {usage.total / 1e6:.0f} MB are free)"
    why = {
        -signal.SIGBUS: f"most likely /dev/shm is full{free}: make it larger (docker run --shm-size=8g)",
        -signal.SIGKILL: "most likely memory ran out: use fewer config.data.num_workers, or a smaller "
        "config.data.prefetch",
    }.get(code, "its own message may stand above")
    return InputUnavailableError(
        f"a reading worker was ended by {name}; {why}. Or set config.data.num_workers=0 to read in threads "
        "of the training process"
    )


def train_iterator(
    source: Source,
    tokenizer: Tokenizer,
    settings: DataSettings,
    groups: Sequence[int] | None = None,
    folder: Path | None = None,
    crew: Crew = ALONE,
) -> TrainIterator:
    """Returns the batches to train on.

    Args:
      source: Scenes of the training split.
      tokenizer: Tokenizer for all three levels.
      settings: Settings of the data.
      groups: Groups of the global batch to load, see `parallel.mesh.local_groups`; default: all.
      folder: Folder to keep the sizes of the scenes in, if `settings.balance` needs them.
      crew: The processes that measure the sizes together; it also tells when to stop.

    Raises:
      ValueError: The source is empty.
      MeasuringStopped: `crew.stop` returned True.
    """
    if len(source) == 0:
        raise ValueError(
            "the training split holds no scenes; see the summary of the data set's build"
        )
    mixture = source.parts if isinstance(source, Mixture) else ()
    if settings.shuffle_texts and isinstance(source, Mixture):
        source = source.map(lambda each: ShuffledTexts(each, settings.seed))
    elif settings.shuffle_texts:
        source = ShuffledTexts(source, settings.seed)
    groups = range(settings.packing_groups) if groups is None else groups
    order, digest = None, ""
    if settings.balance:
        sizes = load_or_measure(source, tokenizer, settings, folder, crew)
        order = Balanced(sizes, settings, len(groups), epochs_of(source))
        digest = sizes.digest()
    batches = TrainingBatches(source, tokenizer, settings, groups, order)
    return TrainIterator(batches, settings, len(source), digest, identity_digest(source), mixture)
