"""Packs sequences of different lengths into rows of one length, without splitting a sequence over two rows.

Texts are sequences of tokens, and views are sequences of patches. A tower's blocks run on rows; tokens of
different sequences in a row don't see each other (`models.rows`).
"""

from collections.abc import Sequence

import numpy as np

from scenarioclip_jax.data.batch import Rows


def place(lengths: Sequence[int], rows: int, size: int) -> np.ndarray | None:
    """Finds where each sequence starts, `row * size + column`; None if they don't all fit into the rows.

    First-fit decreasing (Johnson 1973): whether it succeeds depends only on the lengths, not on their order.

    Args:
      lengths: Lengths of the sequences, in tokens.
      rows: Number of rows.
      size: Row length T, in tokens.
    """
    starts = np.zeros(len(lengths), np.int32)
    room = np.full(rows, size)
    if not rows:
        return None if len(lengths) else starts
    for i in np.argsort(-np.asarray(lengths, np.int64), kind="stable"):
        row = int(np.argmax(room >= lengths[i]))
        if room[row] < lengths[i]:
            return None
        starts[i] = row * size + size - room[row]
        room[row] -= lengths[i]
    return starts


def empty_rows(groups: int, rows: int, size: int, slots: int) -> Rows:
    """Rows that hold nothing."""
    return Rows(
        position=np.zeros((groups, rows, size), np.int32),
        sequence=np.full((groups, rows, size), -1, np.int32),
        read=np.zeros((groups, slots), np.int32),
    )


def write(rows: Rows, group: int, positions: Sequence[np.ndarray]) -> np.ndarray:
    """Writes sequences into the rows of one group and returns where each starts, `row * T + column`.

    Args:
      rows: Rows whose `position` and `sequence` are written; `read` is left to the caller.
      positions: Positions of the tokens in each sequence.

    Raises:
      ValueError: There is no room for all sequences.
    """
    position, sequence = rows.position[group].reshape(-1), rows.sequence[group].reshape(-1)
    starts = place([len(each) for each in positions], *rows.position.shape[1:])
    if starts is None:
        raise ValueError(
            f"{sum(map(len, positions))} tokens in {len(positions)} sequences find no room in rows of "
            f"{rows.position.shape[1:]}"
        )
    for number, (start, each) in enumerate(zip(starts, positions, strict=True)):
        position[start : start + len(each)] = each
        sequence[start : start + len(each)] = number
    return starts
