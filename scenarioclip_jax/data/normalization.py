"""How pixels are normalized for CLIP."""

import numpy as np
from jaxtyping import Float, Num

# Per-channel mean and standard deviation of CLIP's training images (Radford et al. 2021), RGB in 0-1.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def normalize_pixels(views: Num[np.ndarray, "*N P P 3"]) -> Float[np.ndarray, "*N P P 3"]:
    """(view - mean) / std, on the host, of views from 0 to 255."""
    mean, std = (np.array(each, np.float32) for each in (CLIP_MEAN, CLIP_STD))
    return (views.astype(np.float32) / np.float32(255) - mean) / std
