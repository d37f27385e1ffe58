"""What units and canvases cost that fit nearly any box: every box of a small photo can be one of 0..1000."""

import numpy as np

from scenarioclip_jax.data.build.box_formats import UNITS, BoxReading
from scenarioclip_jax.data.build.box_sample import Sample, by_photo, pixels_of

MISFIT = 3.9  # nats for a box that can't be meant: -log(1/50)
ANY_CORNERS = np.log(4)  # a box whose corners may come in any order is one of four times as many
ANY_CORNERS_PRIOR = 4.6  # how much less usual that is, in nats
MOST = 3  # boxes of a photo that count: they have one author, so they are wrong together
_SCALE_COST = 2.6  # nats a box, at most, of units that reach further than the photo's pixels
_UNUSED_COST = 1e4  # half of the photo is never reached in these units
_CREDIT = 0.7  # nats a box, at most, for units or a canvas that explain why no box reaches further


def scale_cost(sample: Sample, reading: BoxReading) -> float:
    """Nats for or against units of the photo's size, by how many boxes can be written in them and in pixels.

    Against: in a small photo any box can be one of 0..1000, which explains nothing. For: photos are much larger
    than 1000 pixels, and yet no box reaches further.
    """
    scale = UNITS[reading.units]
    if scale is None:
        return 0.0
    found = pixels_of(sample, BoxReading(reading.format)) / scale
    right, bottom = found[:, 2].max(), found[:, 3].max()
    if (
        scale == 1.0
    ):  # no photo has its boxes in its first pixel: that none is larger is proof enough
        return 0.0
    if len(found) >= 6 and min(right, bottom) < 0.5:
        return _UNUSED_COST
    room = 2 * np.log(sample.sizes.prod(1) / scale**2)
    if room.mean() <= 0:
        each = by_photo(sample, np.clip(-room, 0, _SCALE_COST)) / by_photo(
            sample, np.ones(len(room))
        )
        return float((each * np.minimum(by_photo(sample, np.ones(len(room))), MOST)).sum())
    within = 0.8 <= right <= 1.02 and 0.8 <= bottom <= 1.02
    if not within or np.mean(room > 0.8) < 0.9 or len(sample.records) < 3 or len(found) < 6:
        return 0.0
    return -float(np.clip(room, 0, _CREDIT).sum())


def canvas_cost(sample: Sample, reading: BoxReading) -> float:
    """Nats for a photo that was padded to a square: no box reaches into the margins, but boxes do reach them.

    In pixels nothing has to be explained: there, boxes of padded photos lie outside of the photos.
    """
    scale = UNITS[reading.units]
    if reading.canvas == "photo" or scale is None:
        return 0.0
    longer = sample.sizes.max(1)
    share = sample.sizes.min(1) / longer
    told = share < 0.95
    if told.sum() < 6 or len(np.unique(sample.photo[told])) < 3:
        return 0.0
    # Along the shorter side, in shares of the photo: 0 to 1 if it was padded.
    boxes = pixels_of(sample, reading)[told]
    size, across = sample.sizes[told], (sample.sizes[:, 0] < sample.sizes[:, 1])[told]
    low = np.where(across, boxes[:, 0] / size[:, 0], boxes[:, 1] / size[:, 1])
    high = np.where(across, boxes[:, 2] / size[:, 0], boxes[:, 3] / size[:, 1])
    reached = 0.8 <= np.quantile(high, 0.98) <= 1.02
    if reading.canvas == "padded":
        reached &= -0.02 <= np.quantile(low, 0.02) <= 0.2
    if not reached:
        return 0.0
    # As many boxes would lie within that part by chance as it is large: one edge each in a corner, two around.
    edges = 2 if reading.canvas == "padded" else 1
    room = np.clip(-edges * np.log(share[told]), 0, _CREDIT)
    count = by_photo(sample, told.astype(float))
    each = np.bincount(sample.photo[told], room, minlength=len(count)) / np.maximum(count, 1)
    return -float((each * np.minimum(count, MOST)).sum())
