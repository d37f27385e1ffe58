"""Which scenes each batch is made of: a pure function of (seed, step).

Scenes come from an endless sequence of positions; `epochs` says which record each of them reads. Step s takes
`batch_size` positions from s * batch_size on, group by group. `Balanced` reassigns the positions of each 32
steps among those steps.
"""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from scenarioclip_jax.data.epochs import Epochs, MixedEpochs
from scenarioclip_jax.data.packing.sizes import Sizes
from scenarioclip_jax.data.settings import DataSettings

STEPS = 32  # steps whose scenes are dealt together

# Maps a step and a group to the positions of the group's scenes.
Order = Callable[[int, int], Sequence[int]]


class Sequential:
    """Takes the scenes in the order of the sequence."""

    def __init__(self, settings: DataSettings):
        self._settings = settings

    def __call__(self, step: int, group: int) -> Sequence[int]:
        first = step * self._settings.batch_size + group * self._settings.scenes
        return range(first, first + self._settings.scenes)


class Balanced:
    """Deals the scenes of 32 steps so that all their batches need about the same room.

    A group trades scenes only with the same group of other steps, so a process deals only what it loads itself.
    Every scene still appears once per epoch, up to 31 steps earlier or later.
    """

    def __init__(
        self,
        sizes: Sizes,
        settings: DataSettings,
        groups: int,
        epochs: Epochs | MixedEpochs | None = None,
    ):
        """Takes the sizes of all records, the number of groups that this process loads, and the epochs.

        Without epochs, the records are those of a single data set.
        """
        self._sizes, self._settings, self._groups = sizes, settings, groups
        self._sequential, self._epochs = Sequential(settings), epochs or Epochs(len(sizes.counts))
        self._steps = steps_dealt(self._epochs.pass_length, settings)
        self.__setstate__({})

    def __call__(self, step: int, group: int) -> Sequence[int]:
        window, place = divmod(step, self._steps)
        with self._lock:  # one thread deals; the others need the same result
            if (window, group) not in self._dealt:
                # Threads that read ahead may already be in the next window.
                while len(self._dealt) >= 2 * self._groups:
                    del self._dealt[next(iter(self._dealt))]
                self._dealt[window, group] = self._deal(window, group)
            return self._dealt[window, group][place]

    def _deal(self, window: int, group: int) -> list[Sequence[int]]:
        steps = range(window * self._steps, (window + 1) * self._steps)
        positions = np.concatenate([self._sequential(step, group) for step in steps])
        seed = self._settings.seed
        records = [self._epochs.record(seed, int(position)) for position in positions]
        batch_of = deal(self._sizes, records, self._steps)
        return [positions[batch_of == batch].tolist() for batch in range(self._steps)]

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_dealt")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._dealt: dict[tuple[int, int], list[Sequence[int]]] = {}


def steps_dealt(pass_length: int, settings: DataSettings) -> int:
    """The number of steps whose scenes are dealt together.

    It is at most the steps of an epoch (of a mixture: of the shortest pass over one of its data sets), since a
    batch would otherwise often contain a scene twice.
    """
    return min(max(pass_length // settings.batch_size, 1), STEPS)


def deal(sizes: Sizes, records: Sequence[int] | np.ndarray, batches: int) -> np.ndarray:
    """Deals scenes to batches of equal size so that all batches need about the same room.

    The algorithm is greedy and starts with the largest scene: each scene goes to the batch where it increases
    the variance between batches least. A text that a batch already has costs nothing there. For texts, only
    the increase's linear term counts. Its quadratic term is smallest where a batch already has the scene's
    texts, so it would pull scenes with the same texts together. All arithmetic is on integers, so every machine
    deals the same way.

    Args:
      sizes: Sizes of all records.
      records: Records of the scenes to deal; their number is a multiple of `batches`.
      batches: Number of batches.

    Returns:
      int [scenes]: The batch of each scene.
    """
    records = np.asarray(records)
    scenes = len(records) // batches
    counts = _shares(sizes.counts[records], sizes.counts[records].sum(0), batches)
    texts = [sizes.of_scene(record) for record in records]
    different, texts_at = np.unique(np.concatenate(texts), return_inverse=True)
    texts = np.split(texts_at, np.cumsum([len(each) for each in texts])[:-1])
    # Relative to the texts of the first batch's worth of scenes, which is as good a scale as any.
    tokens = sizes.tokens[different]
    tokens = _shares(tokens, tokens[np.unique(np.concatenate(texts[:scenes]))].sum(0), 1)

    taken, room = np.zeros((batches, counts.shape[1]), np.int64), np.full(batches, scenes)
    told, has = (
        np.zeros((batches, tokens.shape[1]), np.int64),
        np.zeros((batches, len(different)), bool),
    )
    batch_of = np.empty(len(records), int)
    for scene in np.argsort(-counts.max(1), kind="stable"):
        new = (~has[:, texts[scene]]).astype(np.int64) @ tokens[texts[scene]]
        ahead = batches * told - told.sum(0)
        cost = batches * (taken @ counts[scene]) + (ahead * new).sum(1)
        batch = int(np.where(room > 0, cost, np.iinfo(np.int64).max).argmin())
        batch_of[scene] = batch
        taken[batch] += counts[scene]
        told[batch] += new[batch]
        has[batch, texts[scene]] = True
        room[batch] -= 1
    return batch_of


def _shares(needs: np.ndarray, total: np.ndarray, batches: int) -> np.ndarray:
    """Needs as shares of what a batch needs on average, in units of 2**-20: int64, from whole-number needs."""
    return needs.astype(np.int64) * (batches << 20) // np.maximum(total.astype(np.int64), 1)
