"""`Batch`: the one record that flows from the input pipeline to the train step.

A named tuple is already a JAX pytree, so a worker process that fills batches doesn't need to import JAX.

Axis names, used throughout the package:

    G  packing groups. A group's objects and relations belong to that group's own scenes, so a device that
       holds whole groups never needs another device's views. G is a setting, not the number of devices:
       the global batch stays the same on any mesh whose batch axes divide G.
    S  scene slots in a group          O  object slots in a group          R  relation slots in a group
    V  slots of a level in a group: S for the level `global`, O for `object`, R for `relation`
    C  side of the canvas, pixels      P  side of a view (the model's image size), pixels
    L  tokens of a text                N  rows of T tokens in a group, if sequences are packed (`Rows`)
    F  slots of a level's further texts in a group (`Further`); 0 if there are none
"""

from typing import Any, NamedTuple

import numpy as np

# The three levels at which a scene is aligned with text, from coarse to fine.
LEVELS = ("global", "object", "relation")
# What a further text is to the picture of its slot: true of it, or false in one of the ways of
# `data.stored.scene.NEGATIVE_KINDS`, in this order.
TRUE = 0


class Rows(NamedTuple):
    """The layout of sequences that are packed several to a row, without splitting one over two rows.

    A sequence is a text, or a class token and the patches of a view that show something. A group's rows hold
    only the group's own sequences.
    """

    # int32 [G, N, T]: each token's position in its sequence. In a view, 0 is the class token, i + 1 patch i.
    position: np.ndarray
    # int32 [G, N, T]: number of the sequence that a token belongs to, or -1. A view's number is that of its
    # slot, a text's is its place among the group's distinct texts.
    sequence: np.ndarray
    # int32 [G, V], of texts [G, V + F]: row * T + column of the token at which each slot's sequence is read
    # out. Slots with equal texts read the same token, since a group computes each text once.
    read: np.ndarray


class Further(NamedTuple):
    """Texts of a level besides the slots' own: false ones, and others that are true.

    They come behind the slots' own texts, in `Slots.tokens` or in `Slots.text_rows.read`.
    """

    slot: np.ndarray  # int32 [G, F]: index along V of the slot whose picture the text is about
    mask: np.ndarray  # bool [G, F]: which are filled
    kind: np.ndarray  # int32 [G, F]: TRUE, or 1 + the index in NEGATIVE_KINDS
    text: np.ndarray  # int32 [G, F]: equal texts have equal ids
    count: np.ndarray  # int32 [G]: texts that were wanted


class Boxes(NamedTuple):
    """Where the slots of a level are in a view of the whole photo; for models that pool regions from it."""

    scene: Any  # int32 [G, V], on the device: the photo, along S
    # float32 [G, V, E, 4]: x0, y0, x1, y1 as shares of the view's side; E is 1 for objects, 2 for relations
    box: Any


class Slots(NamedTuple):
    """The slots of one level of a batch. Slots whose `mask` is False hold zeros.

    The fields after `patch_rows` are None (an empty pytree) at levels and in data sets that don't have them.
    """

    scene: np.ndarray  # int32 [G, V]: index along S of the scene that the slot belongs to
    mask: np.ndarray  # bool [G, V]: which slots are filled
    tokens: np.ndarray  # int32 [G, V + F, L]; [G, N, T] if texts are packed
    text: np.ndarray  # int32 [G, V]: equal texts have equal ids (multi-positive losses)
    count: np.ndarray  # int32 [G]: slots that were wanted; `count - mask.sum()` found no room
    hidden: np.ndarray  # int32 [G]: how many were left out as hardly visible in the view
    longest: (
        np.ndarray
    )  # int32 [G]: tokens that the longest text has before it is cut to L; for people
    text_rows: Rows | None  # None if texts aren't packed: one text per row
    patch_rows: Rows | None  # None if views aren't packed: the towers see whole views

    box: np.ndarray | None = (
        None  # objects: float32 [G, O, 4]: x0, y0, x1, y1 in view pixels (0 to P)
    )
    region: np.ndarray | None = (
        None  # relations: uint8 [G, R, P, P / 8]: bits, 1 where the photo shows
    )
    # Focused regions that are images of their own, because no mask of the photo reproduces them.
    focus: np.ndarray | None = None  # relations: uint8 [G, R, C, C, 3], a canvas like the photo's
    has_focus: np.ndarray | None = None  # relations: bool [G, R]
    # Relations in the style `published`: float32 [G, R, 4], x and y of the subject's and the object's center of
    # mass in view pixels.
    centers: np.ndarray | None = None
    # Relations: float32 [G, R, 2, 4]: the boxes of both ends in view pixels, if regions are pooled.
    ends: np.ndarray | None = None
    # Relations: int32 [G, R]: equal for relations between ends of the same two names. Of a scene's relations,
    # those of another pair are false of this one's.
    pair: np.ndarray | None = None
    further: Further | None = None


class Batch(NamedTuple):
    """A global batch of ragged scenes in fixed shapes.

    Photos are shipped once, as uint8; `data.device.views` cuts all views of all levels from them on the device.
    In training the canvas holds the whole decoded photo; a side longer than C is squashed to C, and the rest of
    the canvas repeats the photo's last row and column. In evaluation C == P and the canvas is the view itself
    (short side resized to P, then center-cropped), so its pixels are the reference's own.
    """

    canvas: np.ndarray  # uint8 [G, S, C, C, 3]
    extent: np.ndarray  # int32 [G, S, 2]: width and height of the photo on the canvas, pixels
    photo_size: np.ndarray  # int32 [G, S, 2]: width and height of the photo itself, pixels
    seed: np.ndarray  # uint32 [G, S]: one seed per scene, shared by all its views
    truncated: np.ndarray  # int32 [G]: number of texts that were cut to L tokens
    levels: dict[str, Slots]  # by the names in `LEVELS`

    @property
    def scenes(self) -> Slots:
        """The level `global`: one slot per scene."""
        return self.levels["global"]
