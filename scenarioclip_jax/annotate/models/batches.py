"""Runs a model over a stream of photos: decoded ahead, in batches, smaller ones where memory is short."""

import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

from absl import logging
from PIL import Image

from scenarioclip_jax.annotate.models.photos import open_photo
from scenarioclip_jax.annotate.models.protocols import ModelError
from scenarioclip_jax.annotate.results import Failure, Photo

Extra = TypeVar("Extra")
Result = TypeVar("Result")

_DECODERS = 4
# A model that fails that often in a row, and never did anything else, is at fault, not the photos.
_ERRORS_IN_A_ROW = 8


class Item(NamedTuple, Generic[Extra]):
    """A decoded photo and what is asked of it."""

    photo: Photo
    image: Image.Image
    extra: Extra


class Batches(Generic[Extra, Result]):
    """Runs a function over batches.

    Where a batch needs more memory than there is, its halves are tried, and later batches stay that small. A
    batch that fails otherwise is tried photo by photo, so that only the photo at fault has a failure.

    Args:
      name: The model, for messages.
      size: Photos at a time.
      run: Gives the results of a batch, in its order.
    """

    def __init__(
        self, name: str, size: int, run: Callable[[Sequence[Item[Extra]]], Sequence[Result]]
    ):
        self._name, self._size, self._run = name, max(size, 1), run
        self._errors: int | None = 0  # in a row; None once there was a result

    def __call__(
        self, requests: Iterable[tuple[Photo, Extra]]
    ) -> Iterator[tuple[Photo, Extra, Result | Failure]]:
        """Gives each request's result or failure, of kind unreadable_photo, out_of_memory or model_error.

        Raises:
          ModelError: The model fails for every photo.
        """
        batch: list[Item[Extra]] = []
        for photo, image, extra in self._decoded(requests):
            if isinstance(image, Failure):
                yield photo, extra, image
                continue
            batch.append(Item(photo, image, extra))
            if len(batch) >= self._size:
                yield from self._results(batch)
                batch = []
        if batch:
            yield from self._results(batch)

    def _decoded(
        self, requests: Iterable[tuple[Photo, Extra]]
    ) -> Iterator[tuple[Photo, Image.Image | Failure, Extra]]:
        """Decodes photos in threads, at most a batch ahead of the model."""
        waiting: deque[tuple[Photo, Future[Image.Image | Failure], Extra]] = deque()
        with ThreadPoolExecutor(_DECODERS, "decode") as threads:
            for photo, extra in requests:
                waiting.append((photo, threads.submit(open_photo, photo), extra))
                if len(waiting) > self._size:
                    photo, image, extra = waiting.popleft()
                    yield photo, image.result(), extra
            for photo, image, extra in waiting:
                yield photo, image.result(), extra

    def _results(
        self, batch: Sequence[Item[Extra]]
    ) -> Iterator[tuple[Photo, Extra, Result | Failure]]:
        found = self._try(batch)
        if not isinstance(found, Failure):
            for item, result in zip(batch, found, strict=True):
                yield item.photo, item.extra, result
        elif len(batch) == 1:
            yield batch[0].photo, batch[0].extra, found
        else:
            half = (len(batch) + 1) // 2 if found.kind == "out_of_memory" else 1
            if found.kind == "out_of_memory" and half < self._size:
                self._size = half
                logging.warning(
                    "%s: memory is short; from here on %d photos at a time (setting `batch`)",
                    self._name,
                    half,
                )
            for start in range(0, len(batch), half):
                yield from self._results(batch[start : start + half])

    def _try(self, batch: Sequence[Item[Extra]]) -> Sequence[Result] | Failure:
        """The results of a batch, or why there are none. The error's frames, with their arrays, are let go."""
        try:
            results = self._run(batch)
        except ModelError:
            raise
        except Exception as error:
            short = _is_out_of_memory(error)
            kind = "out_of_memory" if short else "model_error"
            failure = Failure(kind, f"{type(error).__name__}: {error}")
            if not short and len(batch) == 1 and self._errors is not None:
                self._errors += 1
                if self._errors >= _ERRORS_IN_A_ROW:
                    raise ModelError(
                        f"{self._name}: fails for every photo: {failure.detail}; check that its weights are "
                        "complete and that this version of transformers knows it"
                    ) from error
            if not short:
                logging.debug("%s: %s", self._name, traceback.format_exc())
        else:
            self._errors = None
            return results
        if failure.kind == "out_of_memory":
            _free()
        return failure


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    # Apple's GPU has no class of its own for it.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error)
    )


def _free() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
