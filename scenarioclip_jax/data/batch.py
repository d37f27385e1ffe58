"""`Batch`: the one record that flows from the input pipeline to the train step.

A named tuple is already a JAX pytree, so a worker process that fills batches need not import JAX.

Axis names, used throughout the package:

    G  packing groups. A group's objects and relations belong to that group's own scenes, so a device that
       holds whole groups never needs another device's views. G is a setting, not the number of devices:
       the global batch stays the same on any mesh whose batch axes divide G.
    S  scenes in a group          O  object slots in a group        R  relation slots in a group
    C  side of the canvas         P  side of a view (the model's image size)         L  tokens
    N  rows in a group, of T tokens each, where sequences are packed (`Rows`)
"""

from typing import NamedTuple

import numpy as np


class Rows(NamedTuple):
    """Where sequences lie that are packed several to a row, none across two rows.

    A sequence is a text, or those patches of a picture that show something, after the class token. A group's
    rows hold its own sequences only.
    """

    position: (
        np.ndarray
    )  # int32 [G, N, T]: in its sequence; of a picture 0 the class token, i + 1 patch i
    sequence: (
        np.ndarray
    )  # int32 [G, N, T]: of a picture its slot, of a text its number in the group; -1: empty
    # int32 [G, slots]: row * T + column of the token at which each slot's sequence is read out. Slots with
    # equal texts read the same one: a text is computed once a group.
    read: np.ndarray


class Batch(NamedTuple):
    """A global batch of ragged scenes in fixed shapes. Slots where a mask is False hold zeros.

    Photos are shipped once, as uint8; `data.views` cuts every view of every level from them on the device.
    In training the canvas holds the whole photo as it was decoded, each side squashed to C where it is
    longer; what is left of the canvas repeats its last row and column. In evaluation C == P and the canvas is
    the view itself (short side resized to P and centre-cropped), so its pixels are the reference's own.
    """

    canvas: np.ndarray  # uint8 [G, S, C, C, 3]
    extent: np.ndarray  # int32 [G, S, 2]: width and height of the photo on the canvas, pixels
    aspect: np.ndarray  # float32 [G, S]: photo width / height
    seed: np.ndarray  # uint32 [G, S]: one seed a scene, shared by all its views
    scene_mask: np.ndarray  # bool [G, S]
    scene_tokens: np.ndarray  # int32 [G, S, L]; packed, like the other tokens: [G, N, T]
    scene_text: np.ndarray  # int32 [G, S]: equal texts have equal ids (multi-positive losses)

    object_box: np.ndarray  # float32 [G, O, 4]: x0, y0, x1, y1 in view pixels (0 to P)
    object_scene: np.ndarray  # int32 [G, O]: index along S of the scene that the object belongs to
    object_mask: np.ndarray  # bool [G, O]
    object_tokens: np.ndarray  # int32 [G, O, L]
    object_text: np.ndarray  # int32 [G, O]

    relation_region: np.ndarray  # uint8 [G, R, P, P / 8]: bits, 1 where the region shows the photo
    relation_scene: np.ndarray  # int32 [G, R]
    relation_mask: np.ndarray  # bool [G, R]
    relation_tokens: np.ndarray  # int32 [G, R, L]
    relation_text: np.ndarray  # int32 [G, R]

    # Focused regions that are pictures of their own, because no mask of the photo reproduces them.
    # None (an empty pytree) where the data set has no such region.
    relation_focus: np.ndarray | None  # uint8 [G, R, C, C, 3], a canvas like the photo's
    relation_has_focus: np.ndarray | None  # bool [G, R]

    # What could have been packed: `count - mask.sum()` is the overflow, which is logged.
    object_count: np.ndarray  # int32 [G]
    relation_count: np.ndarray  # int32 [G]
    object_hidden: np.ndarray  # int32 [G]: left out because they hardly show in the view
    relation_hidden: np.ndarray  # int32 [G]
    truncated: np.ndarray  # int32 [G]: texts that were cut to L tokens

    # None where texts aren't packed: one text a row.
    scene_text_rows: Rows | None
    object_text_rows: Rows | None
    relation_text_rows: Rows | None
    # None where pictures aren't packed: the towers see whole views.
    scene_patch_rows: Rows | None
    object_patch_rows: Rows | None
    relation_patch_rows: Rows | None
