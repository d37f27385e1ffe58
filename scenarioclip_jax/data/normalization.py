"""How pixels are normalized for CLIP."""

# Per-channel mean and standard deviation of CLIP's training images (Radford et al. 2021), RGB in 0-1.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
