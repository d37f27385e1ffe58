"""Which scenes each batch is made of: a pure function of (seed, step).

Positions of an endless sequence in which every epoch is the whole data set, shuffled anew: step s takes
positions s * batch_size onwards, group by group. `Balanced` deals those of 32 steps out anew.
"""

import functools
import threading
from collections.abc import Callable, Sequence

import grain
import numpy as np

from scenarioclip_jax.data.packing.sizes import Sizes
from scenarioclip_jax.data.settings import DataSettings

STEPS = 32  # whose scenes are dealt together

# From a step and a group to the positions of the group's scenes.
Order = Callable[[int, int], Sequence[int]]


def shuffled_index(seed: int, position: int, records: int) -> int:
    """The record at a position of an endless sequence of epochs, each a permutation of all records.

    Grain's index shuffle is a permutation that is computed, not stored: O(1) however large the data set.
    """
    epoch, place = divmod(position, records)
    return grain.experimental.index_shuffle(
        place, max_index=records - 1, seed=_epoch_seed(seed, epoch), rounds=4
    )


@functools.lru_cache(maxsize=8)
def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


class Sequential:
    """The scenes as they come."""

    def __init__(self, settings: DataSettings):
        self._settings = settings

    def __call__(self, step: int, group: int) -> Sequence[int]:
        first = step * self._settings.batch_size + group * self._settings.scenes
        return range(first, first + self._settings.scenes)


class Balanced:
    """The scenes of 32 steps, put together so that all these batches need about the same room.

    A group trades scenes with the same group of other steps only, so a process deals only what it loads itself.
    Every scene still comes once an epoch, up to 31 steps earlier or later.
    """

    def __init__(self, sizes: Sizes, settings: DataSettings, groups: int):
        """Takes the sizes of all records, and of how many groups this process asks for."""
        self._sizes, self._settings, self._groups = sizes, settings, groups
        self._sequential = Sequential(settings)
        self._steps = steps_dealt(len(sizes.counts), settings)
        self.__setstate__({})

    def __call__(self, step: int, group: int) -> Sequence[int]:
        window, place = divmod(step, self._steps)
        with self._lock:  # one thread deals, the others want the same
            if (window, group) not in self._dealt:
                # Threads ahead may be one window further.
                while len(self._dealt) >= 2 * self._groups:
                    del self._dealt[next(iter(self._dealt))]
                self._dealt[window, group] = self._deal(window, group)
            return self._dealt[window, group][place]

    def _deal(self, window: int, group: int) -> list[Sequence[int]]:
        steps = range(window * self._steps, (window + 1) * self._steps)
        positions = np.concatenate([self._sequential(step, group) for step in steps])
        seed, number = self._settings.seed, len(self._sizes.counts)
        records = [shuffled_index(seed, int(position), number) for position in positions]
        batch_of = deal(self._sizes, records, self._steps)
        return [positions[batch_of == batch].tolist() for batch in range(self._steps)]

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_dealt")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._dealt: dict[tuple[int, int], list[Sequence[int]]] = {}


def steps_dealt(records: int, settings: DataSettings) -> int:
    """Of how many steps the scenes are dealt together: no more than an epoch's, or a batch would often have a
    scene twice."""
    return min(max(records // settings.batch_size, 1), STEPS)


def deal(sizes: Sizes, records: Sequence[int] | np.ndarray, batches: int) -> np.ndarray:
    """Puts scenes into batches of one number of scenes, alike in all that they need.

    Greedy, the largest scene first: each goes where it adds least to the variance between batches. Of a text
    that a batch has already, a scene brings nothing. Of what texts add to the variance, only the part that is
    linear in them counts: the quadratic one is smallest where the texts are known, which would draw scenes that
    tell the same together. All numbers are whole, so that every machine deals alike.

    Args:
      sizes: of all records.
      records: of the scenes, as many for each batch.

    Returns:
      int [scenes]: the batch of each.
    """
    records = np.asarray(records)
    scenes = len(records) // batches
    counts = _shares(sizes.counts[records], sizes.counts[records].sum(0), batches)
    texts = [sizes.of_scene(record) for record in records]
    different, texts_at = np.unique(np.concatenate(texts), return_inverse=True)
    texts = np.split(texts_at, np.cumsum([len(each) for each in texts])[:-1])
    # As a share of what the first batch's worth of scenes tells, which is as good as any.
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
    """Of what a batch needs on average, in millionths or so: int64, of needs that are whole numbers."""
    return needs.astype(np.int64) * (batches << 20) // np.maximum(total.astype(np.int64), 1)
