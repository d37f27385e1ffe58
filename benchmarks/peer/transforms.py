"""The published pictures on Pillow: torchvision's transforms, which users of PyTorch take them from.

Written out because torchvision has no release for every release of PyTorch; each does what torchvision does to
a Pillow picture, in the same library calls.
"""

import math
import random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance

SIZE = 224  # of a view, pixels
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


def resize_and_crop(image: Image.Image) -> Image.Image:
    """Short side to SIZE, bicubic, then the middle square."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    other = int(SIZE * long / short)
    size = (other, SIZE) if width > height else (SIZE, other)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = round((size[0] - SIZE) / 2), round((size[1] - SIZE) / 2)
    return image.crop((left, top, left + SIZE, top + SIZE))


def random_resized_crop(image: Image.Image, draw: random.Random) -> Image.Image:
    """A crop of 80 to 100% of the area and an aspect of 3/4 to 4/3, at SIZE x SIZE."""
    width, height = image.size
    for _ in range(10):
        area = width * height * draw.uniform(0.8, 1.0)
        aspect = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = draw.randint(0, width - w), draw.randint(0, height - h)
            break
    else:
        w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
        left, top = (width - w) // 2, (height - h) // 2
    crop = image.crop((left, top, left + w, top + h))
    return crop.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def color_jitter(
    image: Image.Image,
    strength: tuple[float, float, float, float],
    probability: float,
    draw: random.Random,
) -> Image.Image:
    """Brightness, contrast, saturation and hue in a random order, with some probability."""
    if draw.random() >= probability:
        return image
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for index in draw.sample(range(4), 4):
        if index == 3:
            image = shift_hue(image, draw.uniform(-strength[3], strength[3]))
        else:
            factor = draw.uniform(1 - strength[index], 1 + strength[index])
            image = enhancers[index](image).enhance(factor)
    return image


def shift_hue(image: Image.Image, turns: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shifted = np.asarray(hue) + np.uint8(round(turns * 255) % 256)  # wraps around
    return Image.merge("HSV", (Image.fromarray(shifted), saturation, value)).convert("RGB")


def gaussian_blur(image: Image.Image, probability: float, draw: random.Random) -> Image.Image:
    """A 9 x 9 Gaussian, sigma 0.1 to 1.5 pixels, with some probability."""
    if draw.random() >= probability:
        return image
    offset = torch.linspace(-4, 4, 9)
    kernel = torch.exp(-0.5 * (offset / draw.uniform(0.1, 1.5)) ** 2)
    kernel = kernel / kernel.sum()
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float()
    padded = F.pad(pixels[None], (4, 4, 4, 4), mode="reflect")
    weight = torch.outer(kernel, kernel).expand(3, 1, 9, 9)
    blurred = F.conv2d(padded, weight, groups=3)[0].round().to(torch.uint8)
    return Image.fromarray(blurred.permute(1, 2, 0).numpy())


def to_tensor(image: Image.Image) -> torch.Tensor:
    """Normalized, float32 [3, SIZE, SIZE]."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return pixels.float().div_(255).sub_(MEAN).div_(STD)
