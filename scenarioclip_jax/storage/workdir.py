"""A workdir in a bucket: the run writes to a local mirror, whose files are uploaded.

    ~/.cache/scenarioclip_jax/storage/workdirs/NAME-DIGEST/     the mirror, laid out like any workdir
        .mirror.json                                            whose it is, and which steps are in the bucket

A checkpoint's files go first, then its manifest, then `storage.models.END`: only what has that is complete.
Other files of the run go before a checkpoint, so that they are never older than it; `report.json` goes last.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scenarioclip_jax.console import say
from scenarioclip_jax.files import write_text
from scenarioclip_jax.paths import Address
from scenarioclip_jax.storage.bucket import Bucket, StorageError
from scenarioclip_jax.storage.cache import THREADS, Listing, download, place_of
from scenarioclip_jax.storage.lease import NAME as LEASE_NAME
from scenarioclip_jax.storage.lease import Lease
from scenarioclip_jax.storage.models import (
    END,
    complete_steps,
    damage,
    folder_of,
    make_manifest,
    manifest_of,
    step_of,
)

STATE = ".mirror.json"
REPORT = "report.json"  # launchers treat a run that has it as finished
_KEPT = (".lock",)  # what isn't the bucket's: it stays in the mirror

Stamp = tuple[int, int]  # size and time of a file, which tell whether it was written again


class Mirror:
    """The local copy of a workdir in a bucket.

    Args:
      address: The workdir.

    Attributes:
      folder: The local folder.
    """

    def __init__(self, address: Address):
        self.address, self.folder = address, place_of(address, "workdirs")
        self._bucket = Bucket(address)
        self._lease = Lease(self._bucket)
        self._files: dict[str, Stamp] = {}  # as they were uploaded
        self._steps: dict[int, dict[str, Stamp]] = {}  # likewise; those in the bucket

    def take(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Takes the right to write there; see `Lease.take`."""
        self._lease.take(stop)

    def release(self) -> None:
        self._lease.release()

    def fetch(self, *, checkpoints: bool = True) -> None:
        """Makes the mirror equal to the bucket, for the process that has the lease.

        What a run on this machine couldn't upload any more is uploaded now, unless another run has written
        there since, or everything there was removed; then it is set aside.

        Args:
          checkpoints: Whether checkpoints are copied. If not, an empty folder says that there are some.

        Raises:
          StorageError: It can't be copied, or none of the checkpoints is whole.
        """
        state, found, pending = self._state(), self._bucket.list(), []
        if not self._is_ours(state, found):
            self._set_aside(state)
            self._empty()
        self._fetch_files(found)
        steps = complete_steps(found)
        if checkpoints:
            damaged = self._fetch_steps(found, steps)
            pending = self._pending(steps, state.get("steps", []))
            if damaged and not self._steps and not pending:
                listed = "; ".join(f"step {step} ({why})" for step, why in damaged.items())
                raise StorageError(
                    f"none of the checkpoints in {self.address} can be read: {listed}. Nothing was moved or "
                    "changed; copy one that is whole there, or start anew in another --workdir"
                )
            for step, why in damaged.items():
                say(
                    f"the checkpoint of step {step} in {self.address} is damaged and isn't taken ({why}); it "
                    "stays there until the run comes to that step again",
                )
        elif steps:
            (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        self._note()
        if pending:
            say(f"uploading what an earlier run here left behind: {pending}", error=True)
            self.upload()

    def _is_ours(self, state: dict, found: Listing) -> bool:
        """Whether nobody but this machine has written to the bucket since the mirror was used."""
        if not state.get("token"):
            return False
        if self._lease.previous:
            return state["token"] == self._lease.previous
        # There was no lease. If there is anything else, only the lease was removed.
        others = set(complete_steps(found)) - set(state.get("steps", []))
        return bool(found.keys() - {LEASE_NAME}) and not others

    def _set_aside(self, state: dict) -> None:
        """Moves the mirror if it holds checkpoints that are nowhere else."""
        lost = sorted(self._local_steps() - set(state.get("steps", [])))
        if not lost:
            return
        place = self.folder.with_name(f"{self.folder.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        place.mkdir()
        for path in self.folder.iterdir():
            if path.name not in _KEPT:
                path.rename(place / path.name)
        say(
            f"{self.address} isn't what an earlier run here has left there. Its checkpoints of steps {lost}, "
            f"which were never uploaded, are kept in {place}; remove that folder if they aren't wanted",
            error=True,
        )

    def follow(self) -> None:
        """Makes this machine's mirror equal to the bucket, for the other processes of a run."""
        found = self._bucket.list()
        lease = json.loads(self._bucket.read(LEASE_NAME) or b"{}")
        if self._state().get("token") == lease.get("token"):
            return  # the same machine as that of the process that has the lease
        self._empty()
        self._fetch_files(found)
        self._fetch_steps(found, complete_steps(found))

    def upload(self, *, end: bool = False) -> None:
        """Uploads all that was written since the last time, and removes checkpoints that the run has removed.

        Args:
          end: Whether the run has ended; only then the report is uploaded.

        Raises:
          LeaseError: Another run writes there now.
          StorageError: It can't be uploaded. What the bucket had before is whole.
        """
        self._lease.check()
        self._upload_files(self._own_files(), leave_out=REPORT)
        for step in sorted(self._local_steps()):
            self._upload_step(step)
        self._lease.check()
        for step in sorted(self._steps.keys() - self._local_steps()):
            self._remove_step(step)
        if end:
            self._upload_files(p for p in [self.folder / REPORT] if p.is_file())
        self._note()

    def forget(self, step: int) -> None:
        """Leaves a checkpoint in the bucket alone, since it was damaged."""
        self._steps.pop(step, None)

    @property
    def newest(self) -> str:
        """Says which checkpoint in the bucket is the newest."""
        if not self._steps:
            return f"there is no checkpoint in {self.address} yet"
        return f"the checkpoint of step {max(self._steps)} is whole in {self.address}"

    # The bucket's side

    def _upload_files(self, paths: Iterable[Path], leave_out: str = "") -> None:
        wanted = {}
        for path in paths:
            name = path.relative_to(self.folder).as_posix()
            if name != leave_out and (stamp := _stamp(path)) != self._files.get(name):
                wanted[name] = stamp
        self._put(wanted)
        self._files |= wanted

    def _upload_step(self, step: int) -> None:
        folder = self.folder / folder_of(step)
        stamps = {p.relative_to(folder).as_posix(): _stamp(p) for p in _files_in(folder)}
        before = self._steps.get(step)
        if stamps == before:
            return
        if before is None:  # something may lie there that was never completed
            below = f"{folder_of(step)}/"
            there = [below + name for name in self._below(step).list()]
            self._bucket.remove([f"{below}{END}", *there, manifest_of(step)])
            before = {}
        changed = [n for n, stamp in stamps.items() if before.get(n) != stamp and n != END]
        if changed:
            manifest = self.folder / manifest_of(step)
            write_text(manifest, json.dumps(make_manifest(folder)))
            self._put(f"{folder_of(step)}/{name}" for name in changed)
            self._bucket.put(manifest, manifest_of(step))
        if before.get(END) != stamps[END]:
            self._lease.check()
            self._bucket.put(folder / END, f"{folder_of(step)}/{END}")
        self._steps[step] = stamps

    def _remove_step(self, step: int) -> None:
        below = f"{folder_of(step)}/"
        there = [below + name for name in self._below(step).list()]
        self._bucket.remove([f"{below}{END}", *there, manifest_of(step)])
        (self.folder / manifest_of(step)).unlink(missing_ok=True)
        del self._steps[step]

    def _put(self, names: Iterable[str]) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda name: self._bucket.put(self.folder / name, name), list(names)))

    def _below(self, step: int) -> Bucket:
        key = f"{self.address.key}/{folder_of(step)}".lstrip("/")
        return Bucket(self.address._replace(key=key))

    # The mirror's side

    def _fetch_files(self, found: Listing) -> None:
        wanted = {
            name: entry
            for name, entry in found.items()
            if step_of(name) is None
            and name
            and name[0] != "."
            # What this mirror has is newer.
            and not (self.folder / name).is_file()
        }
        download(self._bucket, wanted, self.folder)

    def _fetch_steps(self, found: Listing, steps: list[int]) -> dict[int, str]:
        """Copies checkpoints that aren't here; returns what is wrong with those that are damaged."""
        damaged = {}
        for step in steps:
            folder, told = self.folder / folder_of(step), self.folder / manifest_of(step)
            manifest = self._bucket.read(manifest_of(step))
            here = folder.is_dir() and told.is_file() and told.read_bytes() == manifest
            if not here:
                if why := self._fetch_step(found, step, manifest):
                    damaged[step] = why
                    continue
            self._steps[step] = {
                p.relative_to(folder).as_posix(): _stamp(p) for p in _files_in(folder)
            }
        return damaged

    def _fetch_step(self, found: Listing, step: int, manifest: bytes | None) -> str:
        below = f"{folder_of(step)}/"
        objects = {n.removeprefix(below): e for n, e in found.items() if n.startswith(below)}
        folder = self.folder / folder_of(step)
        incoming = folder.with_name(f".incoming-{folder.name}")
        for stale in (incoming, folder):
            shutil.rmtree(stale, ignore_errors=True)
        try:
            download(self._below(step), objects, incoming)
            # Without a manifest it was copied there by hand; what is wrong shows when it is read.
            if manifest is not None and (why := damage(incoming, manifest)):
                return why
            incoming.rename(folder)
            if manifest is not None:
                write_text(self.folder / manifest_of(step), manifest.decode())
            return ""
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _pending(self, there: list[int], uploaded: list[int]) -> list[int]:
        """Keeps local checkpoints that were never uploaded and are newer; removes others that aren't there."""
        newest, pending = max(there, default=-1), []
        for step in sorted(self._local_steps() - set(there)):
            if step > newest and step not in uploaded:
                pending.append(step)
            else:
                shutil.rmtree(self.folder / folder_of(step))
        return pending

    def _local_steps(self) -> set[int]:
        folder = self.folder / "checkpoints"
        if not folder.is_dir():
            return set()
        return {int(p.name) for p in folder.iterdir() if p.name.isdigit() and (p / END).is_file()}

    def _own_files(self) -> list[Path]:
        """All files but those of checkpoints, manifests and hidden ones."""
        skipped = ("checkpoints", "manifests")
        return [
            path
            for entry in sorted(self.folder.iterdir())
            if entry.name not in skipped and not entry.name.startswith(".")
            for path in ([entry] if entry.is_file() else _files_in(entry))
        ]

    def _empty(self) -> None:
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name not in _KEPT:
                path.unlink()

    def _state(self) -> dict:
        try:
            state = json.loads((self.folder / STATE).read_text())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _note(self) -> None:
        state = {"token": self._lease.token, "steps": sorted(self._steps)}
        write_text(self.folder / STATE, json.dumps(state))


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _stamp(path: Path) -> Stamp:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns
