"""Views on the device: from a `Batch` to the images that the vision towers see.

These are pure functions for the caller to jit. Nothing crosses packing groups, so sharding G needs no
communication. Axis letters are those of `data.batch`; V stands for S, O or R.

Training, as published: the global view is a random resized crop with color jitter and blur; object and
relation views are the photo's center view, black outside the box or region, with weaker jitter. All views of
a scene share one set of random draws. Evaluation: the canvas is the view itself, and nothing is random.

Differences from torchvision, which the published transforms use: jitter always has the order brightness,
contrast, saturation, hue (torchvision draws the order too); a crop's edges aren't rounded to whole pixels; and
the black outside a box stays black (torchvision's contrast jitter turns it gray).
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Bool, DTypeLike, Float, Int, Key, UInt8, UInt32

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.data.batch import LEVELS, Batch
from scenarioclip_jax.data.device.color import color_jitter, gaussian_blur
from scenarioclip_jax.data.device.regions import Regions, set_off, take_scenes
from scenarioclip_jax.data.normalization import CLIP_MEAN, CLIP_STD
from scenarioclip_jax.data.region_styles import STYLES, WITHOUT_BLACK

CROP_TRIES = 10  # tries before a random resized crop falls back to the center, as in torchvision


Jitter = tuple[float, float, float, float]  # strengths: brightness, contrast, saturation, hue
PUBLISHED_JITTER: Mapping[str, Jitter] = {
    "global": (0.2, 0.2, 0.2, 0.05),
    "object": (0.15, 0.15, 0.15, 0.03),
    "relation": (0.1, 0.1, 0.1, 0.02),
}


@dataclasses.dataclass(frozen=True)
class ViewSettings:
    """Settings of the views; `jitter` has each level's strengths.

    Raises:
      ValueError: A value is out of range. The message names the field and what is allowed.
    """

    fit: str = "centre_crop"  # must be the `fit` of `DataSettings`
    region_style: str = "stored"  # must be the `region_style` of `DataSettings`
    crop_area: tuple[float, float] = (0.8, 1.0)  # share of the photo
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)  # width / height
    jitter: Mapping[str, Jitter] = dataclasses.field(default_factory=lambda: PUBLISHED_JITTER)
    jitter_probability: float = 0.2
    blur_probability: float = 0.1
    blur_sigma: tuple[float, float] = (0.1, 1.5)  # pixels
    blur_kernel: int = 9  # pixels, odd
    dtype: DTypeLike = jnp.float32  # type of the views; all arithmetic is float32

    def __post_init__(self):
        # Made hashable, so that the settings can be a static argument of a jitted function.
        object.__setattr__(self, "jitter", FrozenDict(self.jitter))
        low, high = _numbers(self, "crop_area", 2)
        _require(0 < low <= high <= 1, "crop_area", self, "(low, high) with 0 < low <= high <= 1")
        for name in ("crop_aspect", "blur_sigma"):
            low, high = _numbers(self, name, 2)
            _require(0 < low <= high, name, self, "(low, high) with 0 < low <= high")
        self._check_jitter()
        style = self.region_style in STYLES
        _require(style, "region_style", self, f"one of {', '.join(STYLES)}")
        for name in ("jitter_probability", "blur_probability"):
            _require(0 <= getattr(self, name) <= 1, name, self, "between 0 and 1")
        odd = self.blur_kernel > 0 and self.blur_kernel % 2 == 1
        _require(odd, "blur_kernel", self, "odd and positive")

    def _check_jitter(self) -> None:
        if set(self.jitter) != set(LEVELS):
            raise ValueError(
                f"views.jitter has {', '.join(self.jitter)}: must be {', '.join(LEVELS)}"
            )
        for level, strengths in self.jitter.items():
            numbers = _are_numbers(strengths, 4)
            if numbers:
                *factors, hue = strengths
                numbers = all(0 <= x <= 1 for x in factors) and 0 <= hue <= 0.5
            if not numbers:
                raise ValueError(
                    f"views.jitter.{level}={strengths!r}: must be (brightness, contrast, saturation, hue), "
                    "of 0 to 1, hue of 0 to 0.5"
                )


def _require(holds: bool, name: str, settings, allowed: str) -> None:
    if not holds:
        raise ValueError(f"views.{name}={getattr(settings, name)!r}: must be {allowed}")


def _numbers(settings, name: str, count: int) -> Sequence[float]:
    """Returns a setting that must consist of `count` numbers."""
    values = getattr(settings, name)
    _require(_are_numbers(values, count), name, settings, f"{count} numbers")
    return values


def _are_numbers(values, count: int) -> bool:
    if not isinstance(values, tuple | list) or len(values) != count:
        return False
    return all(isinstance(x, int | float) for x in values)


class Draws(NamedTuple):
    """A scene's random numbers."""

    jittered: Bool[Array, "*V"]
    jitter: Float[Array, "*V 4"]  # -1 to 1; multiplied by a level's strengths
    # Window of the random resized crop: x0, y0, x1, y1 as shares of the photo.
    window: Float[Array, "*V 4"]
    blur: Float[Array, "*V kernel"]


def views(
    batch: Batch, settings: ViewSettings, *, train: bool
) -> dict[str, Float[Array, "G _ P P 3"]]:
    """Makes the normalized views of each level.

    Views in slots whose mask is False are black or meaningless; callers must apply the masks.

    Args:
      batch: Batch on the device; its canvases must fit `train`.
      settings: Settings of the views.
      train: Whether to make random views from training canvases, or else plain views from evaluation canvases.
    """
    size = view_size(batch)
    if not train and batch.canvas.shape[2] != size:
        raise ValueError(
            f"evaluation needs canvases that are the views themselves: canvas {batch.canvas.shape[2]}, "
            f"view {size} pixels; make the batch with data.evaluation_batches"
        )
    draws = draw_scenes(batch, settings) if train else None
    canvas = batch.canvas.astype(jnp.float32) / 255
    center = scene_views(batch, settings) if train else canvas
    return {
        "global": global_views(canvas, batch.extent, draws, size, settings),
        "object": object_views(batch, center, draws, settings),
        "relation": relation_views(batch, center, draws, settings),
    }


def view_size(batch: Batch) -> int:
    """The side of the views, in pixels."""
    region = batch.levels["relation"].region
    assert region is not None  # the level always has it
    return region.shape[2]


def draw_scenes(batch: Batch, settings: ViewSettings) -> Draws:
    """The scenes' random numbers: [G, S]."""
    return _per_scene(draw, batch.seed, batch.photo_size, settings)


def scene_views(batch: Batch, settings: ViewSettings) -> Float[Array, "G S P P 3"]:
    """The scenes' center views, in 0-1, of which objects and relations show parts."""
    canvas, size = batch.canvas.astype(jnp.float32) / 255, view_size(batch)
    return center_views(canvas, batch.extent, batch.photo_size, size, settings.fit)


def global_views(
    canvas: Float[Array, "G S C C 3"],
    extent: Int[Array, "G S 2"],
    draws: Draws | None,
    size: int,
    settings: ViewSettings,
) -> Float[Array, "G S P P 3"]:
    """Whole-scene views; `draws` [G, S] is None in evaluation."""
    if draws is None:
        return normalize_pixels(canvas, settings.dtype)
    pictures = _resample(canvas, draws.window, extent, size)
    strength = jnp.asarray(settings.jitter["global"])
    pictures = color_jitter(pictures, _factors(draws, strength))
    return normalize_pixels(gaussian_blur(pictures, draws.blur), settings.dtype)


def object_views(
    batch: Batch, center: Float[Array, "G S P P 3"], draws: Draws | None, settings: ViewSettings
) -> Float[Array, "G O P P 3"]:
    """Object views: the scene's center view, black outside the box; edge pixels are weighted by coverage."""
    objects = batch.levels["object"]
    assert objects.box is not None  # the level always has it
    visible = box_coverage(objects.box, center.shape[2])[..., None]
    pictures = take_scenes(center, objects.scene) * visible
    if draws is not None:
        factors = factors_of(draws, objects.scene, settings.jitter["object"])
        pictures = color_jitter(pictures, factors) * (visible > 0)
    return normalize_pixels(pictures, settings.dtype)


def relation_views(
    batch: Batch, center: Float[Array, "G S P P 3"], draws: Draws | None, settings: ViewSettings
) -> Float[Array, "G R P P 3"]:
    """Relation views: their focused regions, in the style of the settings."""
    relations = batch.levels["relation"]
    shown = regions(batch, center, settings, train=draws is not None)
    visible = shown.visible[..., None]
    pictures = take_scenes(shown.images, shown.image) * visible
    if draws is not None:
        factors = factors_of(draws, relations.scene, settings.jitter["relation"])
        pictures = color_jitter(pictures, factors) * visible
    return normalize_pixels(pictures, settings.dtype)


def regions(
    batch: Batch, center: Float[Array, "G S P P 3"], settings: ViewSettings, *, train: bool
) -> Regions:
    """What the relations' slots show, before color jitter, in the style of the settings."""
    relations = batch.levels["relation"]
    assert relations.region is not None  # the level always has it
    visible = unpack_region(relations.region)
    if settings.region_style in WITHOUT_BLACK:
        window = center_window(batch.photo_size, center.shape[2], settings.fit)
        return set_off(batch, center, visible, window, settings.region_style)
    images, image = center, relations.scene
    if relations.focus is not None:  # behind the scenes' views come the relations' own
        assert relations.has_focus is not None  # they come together
        focus = focus_views(batch, center.shape[2], settings, train=train)
        own = center.shape[1] + jnp.arange(image.shape[1])
        images = jnp.concatenate([center, focus], axis=1)
        image = jnp.where(relations.has_focus, own, image)
    return Regions(images, image, visible)


def focus_views(
    batch: Batch, size: int, settings: ViewSettings, *, train: bool
) -> Float[Array, "G R P P 3"]:
    """The focused regions that are images of their own, in 0-1; black for relations without one."""
    relations = batch.levels["relation"]
    assert relations.focus is not None  # only for data sets that have them
    focus = relations.focus.astype(jnp.float32) / 255
    if not train:
        return focus
    extent, photo_size = (take_scenes(x, relations.scene) for x in (batch.extent, batch.photo_size))
    return center_views(focus, extent, photo_size, size, settings.fit)


def normalize_pixels(
    pictures: Float[Array, "*V P P 3"], dtype: DTypeLike
) -> Float[Array, "*V P P 3"]:
    """Computes (image - mean) / std for images in 0-1."""
    return ((pictures - jnp.asarray(CLIP_MEAN)) / jnp.asarray(CLIP_STD)).astype(dtype)


def box_coverage(box: Float[Array, "*V 4"], size: int) -> Float[Array, "*V {size} {size}"]:
    """The share of each view pixel that a box covers."""
    start = jnp.arange(size, dtype=jnp.float32)

    def along(low, high):
        covered = jnp.minimum(start + 1, high[..., None]) - jnp.maximum(start, low[..., None])
        return jnp.clip(covered, 0, 1)

    x0, y0, x1, y1 = jnp.moveaxis(box, -1, 0)
    return along(y0, y1)[..., :, None] * along(x0, x1)[..., None, :]


def unpack_region(region: UInt8[Array, "*V P bytes"]) -> Float[Array, "*V P P"]:
    """Unpacks bits to 0 and 1; the first pixel is the highest bit, as in `numpy.packbits`."""
    bits = (region[..., None] >> jnp.arange(7, -1, -1, dtype=jnp.uint8)) & 1
    return bits.reshape(*region.shape[:-1], -1).astype(jnp.float32)


def center_views(
    canvas: Float[Array, "G V C C 3"],
    extent: Int[Array, "G V 2"],
    photo_size: Int[Array, "G V 2"],
    size: int,
    fit: str,
) -> Float[Array, "G V P P 3"]:
    """Evaluation views, resampled from training canvases."""
    return _resample(canvas, center_window(photo_size, size, fit), extent, size)


def center_window(photo_size: Int[Array, "*V 2"], size: int, fit: str) -> Float[Array, "*V 4"]:
    """The part of the photo that its center view shows: x0, y0, x1, y1 as shares of width and height.

    Sizes and offsets match those of `view.photo_view` to the pixel, since both use whole numbers; sides may
    have up to 2**31 / size pixels. With `contain` the window reaches beyond the photo.
    """
    if fit == "squash":
        return jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0, 1.0]), (*photo_size.shape[:-1], 4))
    photo_size = jnp.maximum(photo_size, 1)  # empty slots
    short, long = photo_size.min(-1, keepdims=True), photo_size.max(-1, keepdims=True)
    if fit == "contain":  # the long side becomes `size`
        resized = jnp.maximum(1, _rounded(size * photo_size, long))
    else:  # the short side becomes `size`, and the other is rounded down
        resized = size * photo_size // short
    offset = _rounded(resized - size, 2)
    return jnp.concatenate([offset / resized, (offset + size) / resized], axis=-1)


def _rounded(above: Int[Array, "*V n"], below: Int[Array, "*V one"] | int) -> Int[Array, "*V n"]:
    """Divides whole numbers and rounds half to even."""
    quotient, rest = jnp.divmod(above, below)
    return quotient + ((2 * rest > below) | ((2 * rest == below) & (quotient % 2 == 1)))


def crop_and_resize(
    canvas: Float[Array, "C C 3"], window: Float[Array, "4"], extent: Int[Array, "2"], size: int
) -> Float[Array, "{size} {size} 3"]:
    """Resamples a window to size x size with antialiased bicubic as in Pillow; black beyond the photo.

    Args:
      window: Window x0, y0, x1, y1 as shares of the photo.
      extent: Width and height of the photo on the canvas, in pixels.
    """
    low, high = window[jnp.array([1, 0])], window[jnp.array([3, 2])]  # rows, columns
    pixels = jnp.maximum(extent[::-1], 1)  # empty slots
    scale = size / ((high - low) * pixels)
    translation = -low * pixels * scale
    resampled = jax.image.scale_and_translate(
        canvas, (size, size, 3), (0, 1), scale, translation, method="cubic", antialias=True
    )
    centers = low + (jnp.arange(size)[:, None] + 0.5) / size * (high - low)
    rows, columns = ((centers >= 0) & (centers <= 1)).T
    return jnp.clip(resampled, 0, 1) * (rows[:, None] & columns)[..., None]


def draw(seed: UInt32[Array, ""], photo_size: Int[Array, "2"], settings: ViewSettings) -> Draws:
    """A scene's random numbers: a pure function of its seed."""
    # This generator is fixed because others draw differently inside vmap and under sharding.
    keys = jax.random.split(jax.random.key(seed, impl="threefry2x32"), 4)
    width, height = jnp.maximum(photo_size, 1).astype(jnp.float32)  # empty slots
    blurred, sigma = jax.random.uniform(keys[2], (2,))
    return Draws(
        jittered=jax.random.uniform(keys[0]) < settings.jitter_probability,
        jitter=jax.random.uniform(keys[1], (4,), minval=-1, maxval=1),
        window=random_window(keys[3], width / height, settings),
        blur=_blur_kernel(blurred, sigma, settings),
    )


def random_window(
    key: Key[Array, ""], aspect: Float[Array, ""], settings: ViewSettings
) -> Float[Array, "4"]:
    """Draws the window of a random resized crop by torchvision's rule, without its rounding.

    Area and log aspect are uniform. The first of ten draws that fits in the photo is used, or else the largest
    center part whose aspect is allowed.
    """
    width = aspect  # in units of the photo's height
    area_key, aspect_key, x_key, y_key = jax.random.split(key, 4)
    low, high = settings.crop_area
    area = width * jax.random.uniform(area_key, (CROP_TRIES,), minval=low, maxval=high)
    narrow, wide = settings.crop_aspect
    logs = jax.random.uniform(
        aspect_key, (CROP_TRIES,), minval=jnp.log(narrow), maxval=jnp.log(wide)
    )
    widths, heights = jnp.sqrt(area * jnp.exp(logs)), jnp.sqrt(area / jnp.exp(logs))
    fits = (widths <= width) & (heights <= 1)
    first = jnp.argmax(fits)
    w = jnp.where(fits.any(), widths[first], jnp.minimum(width, wide))
    h = jnp.where(fits.any(), heights[first], jnp.minimum(1.0, width / narrow))
    x = jnp.where(fits.any(), jax.random.uniform(x_key), 0.5) * (width - w)
    y = jnp.where(fits.any(), jax.random.uniform(y_key), 0.5) * (1 - h)
    return jnp.stack([x / width, y, (x + w) / width, y + h])


def _blur_kernel(blurred, sigma, settings: ViewSettings) -> Float[Array, " kernel"]:
    """A Gaussian with the drawn sigma, or a single 1 if the image isn't to be blurred."""
    offset = jnp.arange(settings.blur_kernel) - settings.blur_kernel // 2
    low, high = settings.blur_sigma
    gaussian = jnp.exp(-0.5 * (offset / (low + (high - low) * sigma)) ** 2)
    kernel = gaussian / gaussian.sum()
    return jnp.where(blurred < settings.blur_probability, kernel, offset == 0)


def _factors(draws: Draws, strength: Float[Array, "4"]) -> Float[Array, "*V 4"]:
    """Factors for brightness, contrast and saturation, and the hue's shift; neutral if not jittered."""
    neutral = jnp.array([1.0, 1.0, 1.0, 0.0])
    return neutral + draws.jittered[..., None] * draws.jitter * strength


def factors_of(draws: Draws, scene: Int[Array, "G V"], strength: Jitter) -> Float[Array, "G V 4"]:
    """The factors of slots, from their scenes' draws."""
    of_slots = jax.tree.map(lambda x: take_scenes(x, scene), draws)
    return _factors(of_slots, jnp.asarray(strength))


def _per_scene(function, seed, photo_size, settings):
    return jax.vmap(jax.vmap(lambda s, p: function(s, p, settings)))(seed, photo_size)


def _resample(canvas, window, extent, size: int):
    """`crop_and_resize` for each slot."""
    one = functools.partial(crop_and_resize, size=size)
    return jax.vmap(jax.vmap(one))(canvas, window, extent)
