"""The checkpoints of a run: saved in the background, uploaded where the workdir lies in a bucket, restored."""

import contextlib
import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy

from scenarioclip_jax.checkpoint import CheckpointError, what_is_whole
from scenarioclip_jax.orbax_setup import quiet
from scenarioclip_jax.parallel.distributed import wait_for_all
from scenarioclip_jax.storage.bucket import StorageError
from scenarioclip_jax.storage.lease import LeaseError
from scenarioclip_jax.storage.uploads import Uploads
from scenarioclip_jax.storage.workdir import Mirror


@dataclasses.dataclass
class Best(preservation_policy.PreservationPolicy):
    """Keeps the `n` checkpoints with the highest `metric`; of equal ones the earliest, as `train.best` chooses.

    Orbax's own policy keeps the latest of equal ones.
    """

    metric: str
    n: int

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        scored = [(-m[self.metric], each.step) for each in checkpoints if (m := each.metrics)]
        kept = {step for _, step in sorted(scored)[: self.n]}
        return [each.step in kept for each in checkpoints]


class Checkpoints:
    """The checkpoints below one directory, written in the background.

    Args:
      directory: The folder DIR of `scenarioclip_jax.checkpoint`.
      keep_last: Number of newest checkpoints to keep for resuming.
      keep_best: Number of checkpoints with the highest `metric` to keep; of equal ones, the earliest.
      metric: Name of the metric, among those given to `save`.
      mirror: The workdir in a bucket whose local copy `directory` is. Each process then has a folder of its
        own, and the first one saves and uploads for all.
    """

    def __init__(
        self,
        directory: Path,
        *,
        keep_last: int,
        keep_best: int,
        metric: str,
        mirror: Mirror | None = None,
    ):
        self._apart = mirror is not None and jax.process_count() > 1
        self._saved: set[int] = set()  # by the first process, for the others
        me = jax.process_index()
        self._processes = ocp.options.MultiprocessingOptions()
        if self._apart:
            self._processes = ocp.options.MultiprocessingOptions(me, {me}, f"of process {me}")
        policies: list[Any] = [preservation_policy.LatestN(n=keep_last)]
        if keep_best:
            policies.append(Best(metric, keep_best))
        options = ocp.CheckpointManagerOptions(
            # Without this, Orbax doesn't store the metrics and forgets after a restart which were best.
            best_fn=(lambda metrics: metrics[metric]) if keep_best else None,
            best_mode="max",
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
            step_format_fixed_length=8,
            multiprocessing_options=self._processes,
            create=not self._apart,
        )
        folder = (directory / "checkpoints").resolve()
        if self._apart:  # Orbax makes it only where all processes share it
            folder.mkdir(parents=True, exist_ok=True)
        self.manager = ocp.CheckpointManager(folder, options=options)
        self._uploads = None
        if mirror is not None and me == 0:
            self._uploads = Uploads(mirror, self.manager.is_saving_in_progress)

    @property
    def latest(self) -> int | None:
        return max(self.steps, default=None)

    @property
    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        return sorted({*self.manager.all_steps(), *self._saved})

    def save(
        self,
        step: int,
        *,
        arrays: dict[str, Any],
        records: dict[str, Any],
        metrics: dict[str, float] | None = None,
    ) -> None:
        """Starts a save; returns when the arrays are copied from the devices.

        Args:
          arrays: Pytrees of arrays by item name. Empty trees are left out.
          records: JSON values by item name.
          metrics: Scores of the checkpoint, for `keep_best`.
        """
        if self._apart:
            arrays = jax.tree.map(on_first_host, arrays)
            self._saved.add(step)
            if jax.process_index():
                return
        items = {
            name: ocp.args.StandardSave(tree)
            for name, tree in arrays.items()
            if jax.tree.leaves(tree)
        }
        items |= {name: ocp.args.JsonSave(record) for name, record in records.items()}
        self._wait_for_upload()  # so that at most one checkpoint is on its way
        # A background failure of the previous save also shows here.
        with self._explaining_failure(), quiet():
            self.manager.save(step, args=ocp.args.Composite(**items), metrics=metrics, force=True)
        if self._uploads is not None:
            self._uploads.start()

    def add_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Adds scores to a checkpoint that was saved without; `keep_best` uses them from the next save on."""
        if self._apart and jax.process_index():
            return
        self.wait()
        if self.manager.metrics(step) is not None:
            return
        # Orbax's manager reads metrics from this folder, but can write them there only while it saves.
        folder = Path(self.manager.directory) / f"{step:08d}" / "metrics"
        handler = ocp.JsonCheckpointHandler(filename="metrics")
        writer = ocp.Checkpointer(handler, multiprocessing_options=self._processes)
        with self._explaining_failure(), writer as checkpointer:
            checkpointer.save(folder, args=ocp.args.JsonSave(metrics))
        self.manager.reload()
        if self._uploads is not None:
            self._uploads.start()

    def restore(self, step: int, *, arrays: dict[str, Any], records: tuple[str, ...]) -> dict:
        """Restores items; `arrays` holds trees of `jax.ShapeDtypeStruct` with shardings."""
        items = {
            name: ocp.args.StandardRestore(tree)
            for name, tree in arrays.items()
            if jax.tree.leaves(tree)
        }
        items |= {name: ocp.args.JsonRestore() for name in records}
        restored = dict(self.manager.restore(step, args=ocp.args.Composite(**items)))
        return {name: tree for name, tree in arrays.items() if name not in items} | restored

    def remove_after(self, step: int) -> None:
        """Removes the checkpoints of later steps; where the workdir lies in a bucket, there too."""
        self.wait()
        for later in [each for each in self.steps if each > step]:
            if later in self.manager.all_steps():
                self.manager.delete(later)
            self._saved.discard(later)
        if self._uploads is not None:
            self._uploads.start()

    def set_aside(self, step: int) -> Path:
        """Moves a damaged checkpoint out of the way; the first process returns its new place."""
        folder = Path(self.manager.directory) / f"{step:08d}"
        target = folder.with_name(f"damaged-{folder.name}-{time.time_ns()}")
        if self._uploads is not None:
            self._uploads.forget(step)
        if jax.process_index() == 0:
            folder.rename(target)
        wait_for_all("a damaged checkpoint is out of the way")
        if self._apart and folder.is_dir():  # on another machine than the first process's
            folder.rename(target)
        self.manager.reload()
        return target

    def wait(self) -> None:
        """Returns when the last save is complete and uploaded; raises the error if it failed."""
        with self._explaining_failure():
            self.manager.wait_until_finished()
        self._wait_for_upload()

    def _wait_for_upload(self) -> None:
        if self._uploads is None:
            return
        try:
            self._uploads.wait()
        except (StorageError, LeaseError) as error:
            raise CheckpointError(
                f"a checkpoint couldn't be uploaded: {error}. {self._uploads.newest}, and "
                f"{what_is_whole(Path(self.manager.directory).parent)} on this machine; mend the cause and "
                "start the same command again"
            ) from error

    @contextlib.contextmanager
    def _explaining_failure(self):
        """Turns all errors of a failed save into CheckpointError; a full disk alone raises a dozen kinds."""
        try:
            yield
        except Exception as error:
            folder = Path(self.manager.directory)
            free = shutil.disk_usage(folder).free / 1e9
            raise CheckpointError(
                f"a checkpoint couldn't be written to {folder} ({free:.1f} GB free there): {str(error)[:500]}. "
                f"Nothing before it is lost: {what_is_whole(folder.parent)}; mend the cause and start the same "
                "command again"
            ) from error

    def close(self) -> None:
        """Waits for a save in the background; raises the error if it failed."""
        try:
            with self._explaining_failure():
                self.manager.close()
            self._wait_for_upload()
        finally:
            if self._uploads is not None:
                self._uploads.close()


def on_first_host(array: jax.Array) -> np.ndarray | None:
    """Returns a whole array on the first process's host, None elsewhere; all call it for the same arrays."""
    whole = multihost_utils.process_allgather(array, tiled=True)
    return None if jax.process_index() else whole
