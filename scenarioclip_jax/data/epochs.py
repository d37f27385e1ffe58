"""Which record each position of the endless sequence reads: a pure function of (seed, position).

A single data set is read in epochs, each a fresh permutation of all its records. A mixture deals the positions
to its data sets, and each data set has its own endless sequence of epochs.
"""

import bisect
import functools
import itertools
from collections.abc import Sequence

import grain
import numpy as np

BLOCK = 1024  # positions that are dealt to the data sets of a mixture together, or more if a share is tiny
SMALLEST_SHARE = 2**-20  # of a data set in a mixture
_DEALING = 0xDEA1  # tells the seeds of blocks from those of epochs


def shuffled_index(seed: int, position: int, records: int, *salt: int) -> int:
    """Returns the record at a position of an endless sequence of epochs, each a permutation of all records.

    Grain's index shuffle computes the permutation instead of storing it: O(1) for a data set of any size.
    """
    epoch, place = divmod(position, records)
    return grain.experimental.index_shuffle(
        place, max_index=records - 1, seed=_seed(seed, epoch, *salt), rounds=4
    )


@functools.lru_cache(maxsize=256)
def _seed(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


class Epochs:
    """The records of a single data set, epoch by epoch.

    Attributes:
      pass_length: Positions in a row in which hardly any record appears twice: those of an epoch.
    """

    def __init__(self, records: int):
        self._records = self.pass_length = records

    def record(self, seed: int, position: int) -> int:
        """The record at a position."""
        return shuffled_index(seed, position, self._records)

    def replacement(self, record: int, number: int) -> int:
        """A record to read in place of a corrupt one, chosen by a random number."""
        return number % self._records


class MixedEpochs:
    """The records of several data sets, numbered one after another, each in its own endless sequence of epochs.

    Positions are dealt in blocks. In the first b blocks of B positions, the first d data sets together have
    floor(b B W_d / W) positions, where W_d is the sum of their weights and W that of all weights. So the number
    of positions that a data set has in any number of whole blocks is less than one away from its share. The
    seed permutes the positions of each block. The positions of a data set, one after another, read the next
    records of its sequence, so that each record is read once before the next epoch begins.

    Attributes:
      counts: Number of records of each data set.
      weights: Weight of each data set, a whole number.
      pass_length: Positions in a row in which hardly any record appears twice: the shortest pass over one of
        the data sets.

    Args:
      counts: Number of records of each data set.
      weights: Whole numbers, in whose ratio positions are dealt.

    Raises:
      ValueError: A data set is empty, or its share is below `SMALLEST_SHARE`.
    """

    def __init__(self, counts: Sequence[int], weights: Sequence[int]):
        self.counts, self.weights = tuple(counts), tuple(weights)
        self._starts = (0, *itertools.accumulate(self.counts))
        self._edges = (0, *itertools.accumulate(self.weights))
        total = self._edges[-1]
        if min(self.counts) < 1 or min(self.weights) < SMALLEST_SHARE * total:
            raise ValueError(
                f"a mixture of data sets of {self.counts} scenes with weights {self.weights}: each must hold a "
                f"scene and have at least a share of {SMALLEST_SHARE:.1g}; give larger weights to the smallest"
            )
        # With at least one position of each data set in every block, none gets a negative number by rounding.
        self._block = max(BLOCK, 1 << (-(-total // min(self.weights)) - 1).bit_length())
        passes = zip(self.counts, self.weights, strict=True)
        self.pass_length = max(1, min(count * total // weight for count, weight in passes))

    def record(self, seed: int, position: int) -> int:
        """The record at a position, as its number among the records of all data sets."""
        number, place = self._deal(seed, position)
        # The first data set's salt is 1, since NumPy takes a 0 at the end for nothing.
        return self._starts[number] + shuffled_index(seed, place, self.counts[number], number + 1)

    def replacement(self, record: int, number: int) -> int:
        """A record of the same data set to read in place of a corrupt one, chosen by a random number."""
        of = bisect.bisect_right(self._starts, record) - 1
        return self._starts[of] + number % self.counts[of]

    def drawn(self, seed: int, positions: int) -> list[int]:
        """How many of the first `positions` positions each data set has. Exact, in at most a block's time."""
        blocks = positions // self._block
        dealt = self._dealt(blocks)
        counts = [after - before for before, after in itertools.pairwise(dealt)]
        for position in range(blocks * self._block, positions):
            counts[self._deal(seed, position)[0]] += 1
        return counts

    def _deal(self, seed: int, position: int) -> tuple[int, int]:
        """Returns the data set of a position, and the position in that data set's own sequence."""
        block, place = divmod(position, self._block)
        before, after = self._dealt(block), self._dealt(block + 1)
        starts = tuple(two - one for one, two in zip(before, after, strict=True))
        numbers, ranks = _shuffled_block(seed, block, starts)
        number = int(numbers[place])
        return number, before[number + 1] - before[number] + int(ranks[place])

    def _dealt(self, blocks: int) -> list[int]:
        """Positions of the first 0, 1, 2, … data sets together in so many blocks."""
        return [blocks * self._block * edge // self._edges[-1] for edge in self._edges]


@functools.lru_cache(maxsize=8)
def _shuffled_block(
    seed: int, block: int, starts: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Deals the positions of a block to data sets.

    Args:
      starts: Positions of the first 0, 1, 2, … data sets together in the block.

    Returns:
      int [positions], int [positions]: The data set of each, and how many positions before it in the block are
      of the same.
    """
    size = starts[-1]
    # Of a seed sequence, whose numbers are the same in every version of NumPy.
    drawn = np.random.SeedSequence([seed, block, _DEALING]).generate_state(size, np.uint64)
    numbers = np.searchsorted(starts, np.argsort(drawn, kind="stable"), side="right") - 1
    ranks = np.empty(size, np.int64)
    in_time = np.argsort(numbers, kind="stable")
    ranks[in_time] = np.arange(size) - np.array(starts)[numbers[in_time]]
    return numbers, ranks


def epochs_of(source) -> Epochs | MixedEpochs:
    """The epochs in which a source is read: its own if it is a mixture."""
    return getattr(source, "epochs", None) or Epochs(len(source))
