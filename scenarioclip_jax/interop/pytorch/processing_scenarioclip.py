"""Prepares photos and texts for ScenarioCLIP as its training does: AutoProcessor finds it in this folder."""

import difflib

import numpy as np
import transformers
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.processing_utils import ProcessorMixin

# `images` needs all of these, but Transformers 4 fetches only what is imported here.
from .image_arrays import separate
from .image_colors import convert as _convert  # noqa: F401
from .image_depth import stored_depth as _stored_depth  # noqa: F401
from .image_files import ImageFileError
from .image_levels import find_levels as _find_levels  # noqa: F401
from .images import to_rgb
from .labels import labels_of
from .photo_boxes import check_boxes

__all__ = ["ImageFileError", "ScenarioCLIPImageProcessor", "ScenarioCLIPProcessor"]

LEVELS = ("global", "object", "relation")
FITS = ("centre_crop", "contain", "squash")


def refuse(unknown, known, where):
    """Raises TypeError for keywords that would be ignored."""
    for name in unknown:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(known)}"
        raise TypeError(f"{where} takes no argument {name!r}; {hint}")


class ScenarioCLIPImageProcessor(BaseImageProcessor):
    """Resizes a photo (bicubic) to a square view and normalizes it.

    Args:
      image_size: Side P of the view, in pixels.
      fit: `centre_crop` (the short side becomes P), `contain` (the long side does; black bars) or `squash`
        (both sides do).
      image_mean, image_std: Mean and standard deviation per channel, for values in 0-1.
    """

    model_input_names = ("pixel_values",)

    def __init__(
        self,
        image_size=224,
        fit="centre_crop",
        image_mean=(0.48145466, 0.4578275, 0.40821073),
        image_std=(0.26862954, 0.26130258, 0.27577711),
        **kwargs,
    ):
        super().__init__(**kwargs)
        if fit not in FITS:
            raise ValueError(f"fit is {fit!r}; it must be one of {', '.join(FITS)}")
        self.image_size, self.fit = image_size, fit
        self.image_mean, self.image_std = list(image_mean), list(image_std)

    def view(self, image):
        """Returns the photo's view, uint8 [P, P, 3]. `image` is anything that `images.open_image` accepts."""
        image = to_rgb(image)
        # Only what the view shows is resampled. Along each axis, these are the view pixels that show the photo
        # and the part of the photo that they show.
        shown, part, size = [], [], self.image_size
        for side, (resized, offset) in zip(image.size, self._places(image.size), strict=True):
            scale = resized / side
            low, high = max(0, offset), min(size, resized + offset)
            shown.append((low, high))
            part.append((max(0.0, (low - offset) / scale), min(side, (high - offset) / scale)))
        (left, right), (top, bottom) = shown
        view = image.resize(
            (right - left, bottom - top),
            Image.Resampling.BICUBIC,
            box=(part[0][0], part[1][0], part[0][1], part[1][1]),
        )
        canvas = Image.new("RGB", (size, size))
        canvas.paste(view, (left, top))
        return np.asarray(canvas)

    def _places(self, sides):
        """The photo's resized width and height, and where it starts in the view, in pixels."""
        size, short, long = self.image_size, min(sides), max(sides)
        if self.fit == "squash":
            resized = {short: size, long: size}
        elif self.fit == "contain":
            resized = {short: max(1, round(size * short / long)), long: size}
        else:
            resized = {long: int(size * long / short), short: size}
        return [(resized[side], -round((resized[side] - size) / 2)) for side in sides]

    def in_view(self, boxes, level, sides):
        """Checks boxes in pixels of a photo and returns them as shares of its view, clipped to it.

        Args:
          boxes: [M, 4] for objects, [M, 2, 4] for relations.
          sides: Width and height of the photo.
        """
        # As in training: whole pixels of the photo, and at least one.
        whole = np.floor(check_boxes(boxes, level, sides).astype(np.float64))
        whole[..., 2:] = np.maximum(whole[..., 2:], whole[..., :2] + 1)
        places = self._places(sides)
        scale = [resized / side for side, (resized, _) in zip(sides, places, strict=True)]
        offset = [start for _, start in places]
        mapped = whole * np.array(scale * 2) + np.array(offset * 2)
        return (np.clip(mapped, 0, self.image_size) / self.image_size).astype(np.float32)

    def preprocess(self, images, return_tensors=None, **unknown):
        """Prepares one or several images: paths, PIL images, arrays or tensors of any framework.

        Arrays are uint8 (or floats from 0 to 1) with the axes [H, W, C], [C, H, W] or [H, W]; several in one
        array have an axis N in front.
        """
        refuse(unknown, ("images", "return_tensors"), "the image processor")
        pictures = separate(images)
        if not pictures:
            raise ValueError("no picture: the list is empty")
        mean, std = np.float32(self.image_mean), np.float32(self.image_std)
        views = np.stack([self.view(picture) for picture in pictures])
        pixels = (views.astype(np.float32) / np.float32(255) - mean) / std
        data = {"pixel_values": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))}
        return BatchFeature(data, tensor_type=return_tensors)


class ScenarioCLIPProcessor(ProcessorMixin):
    """Photos to `pixel_values` [N, 3, P, P], texts to `input_ids` [N, L].

    Args:
      lengths: Length L of texts by level, in tokens including begin and end; longer texts are cut.
    """

    # Transformers 4 reads these; version 5 finds them itself and warns about one of them.
    attributes = ("image_processor", "tokenizer")
    tokenizer_class = "AutoTokenizer"
    if transformers.__version__.startswith("4."):
        image_processor_class = "AutoImageProcessor"

    def __init__(self, image_processor=None, tokenizer=None, lengths=None, **kwargs):
        super().__init__(image_processor, tokenizer)
        self.lengths = lengths or dict.fromkeys(LEVELS, tokenizer.model_max_length)

    def __call__(
        self,
        images=None,
        text=None,
        level="global",
        return_tensors="pt",
        padding="max_length",
        truncation=True,
        max_length=None,
        boxes=None,
        **unknown,
    ):
        """Prepares images, texts or both. Texts are brought into the form that labels have in training.

        Args:
          level: Level to whose length texts are cut and padded.
          padding: "max_length", or True ("longest") to pad to the longest text.
          truncation: Must be True, because texts are always cut.
          max_length: Another L, at most the length that the text tower reads.
          boxes: For models that pool regions: M objects [M, 4] or relations [M, 2, 4] of an image, as `level`
            says, x0, y0, x1, y1 in pixels of the upright photo; a list of such for several images. They become
            `boxes` [N, M, 1 or 2, 4].
        """
        known = ("images", "text", "level", "return_tensors", "padding", "truncation", "max_length")
        known += ("boxes",)
        refuse(unknown, known, "the processor")
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}; it must be one of {', '.join(LEVELS)}")
        if images is None and text is None:
            raise ValueError("nothing to prepare: give images, text or both")
        data = {}
        if images is not None:
            pictures = separate(images)
            if boxes is not None:
                pictures = [to_rgb(picture) for picture in pictures]
                data["boxes"] = self._boxes(boxes, level, pictures)
            data["pixel_values"] = self.image_processor.preprocess(pictures)["pixel_values"]
        elif boxes is not None:
            raise ValueError("boxes need the images that they are in")
        if text is not None:
            length = self.lengths[level] if max_length is None else max_length
            data["input_ids"] = self._ids(text, padding, truncation, length)
        return BatchFeature(data, tensor_type=return_tensors)

    def _boxes(self, boxes, level, pictures):
        if level == "global":
            raise ValueError("boxes are of the level 'object' or 'relation', not 'global'")
        if len(pictures) == 1 and _axes(boxes) in (2, 3):
            # Of the only image; one axis more is a list with those of the only image.
            own = _axes(boxes) == (2 if level == "object" else 3) or len(boxes) != 1
            boxes = [boxes] if own else boxes
        if not hasattr(boxes, "__len__") or len(boxes) != len(pictures):
            raise ValueError(
                f"boxes must be a list with those of each of {len(pictures)} images, in their order"
            )
        found = [
            self.image_processor.in_view(each, level, picture.size)
            for each, picture in zip(boxes, pictures, strict=True)
        ]
        counts = [len(each) for each in found]
        if len(set(counts)) > 1:
            raise ValueError(
                f"the images have {counts} boxes; give the same number of each, or one image at a time"
            )
        return np.stack(found)

    def _ids(self, text, padding, truncation, length):
        try:
            texts = labels_of(text)
        except ValueError as error:
            raise ValueError(f"text: {error}") from None
        if not texts:
            raise ValueError("text: the list is empty; give a string or a list of strings")
        if padding not in ("max_length", "longest", True):
            raise ValueError(f"padding is {padding!r}; it must be 'max_length' or True ('longest')")
        if truncation not in (True, "longest_first"):
            raise ValueError(f"truncation is {truncation!r}; texts are always cut: leave it out")
        most = self.tokenizer.model_max_length
        if not isinstance(length, int) or not 3 <= length <= most:
            raise ValueError(
                f"max_length is {length!r}; it must be a whole number from 3 to {most}"
            )
        encoded = self.tokenizer(texts, padding=padding, truncation=True, max_length=length)
        return np.asarray(encoded["input_ids"], np.int64)


def _axes(values):
    """The number of axes of nested lists or of an array; None if they have no regular form."""
    try:
        return np.ndim(values)
    except ValueError:
        return None
