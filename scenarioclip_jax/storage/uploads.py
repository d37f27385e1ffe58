"""Uploads of a workdir in the background, one at a time."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from scenarioclip_jax.storage.workdir import Mirror

_PAUSE = 0.05  # seconds between two looks at a save


class Uploads:
    """Uploads what a run has saved, while it computes.

    Args:
      mirror: The workdir.
      saving: Whether a save is being written at this moment.
    """

    def __init__(self, mirror: Mirror, saving: Callable[[], bool]):
        self._mirror, self._saving = mirror, saving
        self._pool = ThreadPoolExecutor(1, "uploads")
        self._upload: Future | None = None

    def start(self) -> None:
        """Uploads once the save that was started is complete; `wait` comes before the next save."""
        self._upload = self._pool.submit(self._run)

    def _run(self) -> None:
        while self._saving():
            time.sleep(_PAUSE)
        self._mirror.upload()

    def wait(self) -> None:
        """Returns when everything is uploaded; raises the error if that failed."""
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.result()

    def forget(self, step: int) -> None:
        self._mirror.forget(step)

    @property
    def newest(self) -> str:
        return self._mirror.newest

    def close(self) -> None:
        try:
            self.wait()
        finally:
            self._pool.shutdown()
