"""Prepares photos and texts for ScenarioCLIP as its training does: AutoProcessor finds it in this folder."""

import difflib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import transformers
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.processing_utils import ProcessorMixin

from .encoder_scenarioclip import Encoder
from .finder_scenarioclip import open_finder
from .graphs import make_graphs
from .image_arrays import separate
from .image_files import ImageFileError
from .images import to_rgb
from .labels import labels_of
from .photo_boxes import check_boxes
from .photo_parts import in_view, share_in_view, show
from .view import photo_view, view_canvas
from .word_lists import from_lists, read_lists

if TYPE_CHECKING:
    # These need all of the following, but Transformers 4 fetches only what is imported in this file.
    from .asking import answered  # noqa: F401
    from .boxes import grid  # noqa: F401
    from .detections import object_boxes  # noqa: F401
    from .drawing import draw_box  # noqa: F401
    from .errors import ReadableError  # noqa: F401
    from .files import whole  # noqa: F401
    from .image_colors import convert  # noqa: F401
    from .image_depth import stored_depth  # noqa: F401
    from .image_range import find_levels  # noqa: F401
    from .picture import draw  # noqa: F401
    from .region_styles import STYLES  # noqa: F401
    from .scene_graph import SceneGraph  # noqa: F401
    from .steps import graph_steps  # noqa: F401
    from .texts import Texts  # noqa: F401
    from .zero_shot import ZeroShot  # noqa: F401

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
        return view_canvas(image, self._place(image.size))

    def _place(self, sides):
        """Where a photo of this width and height lies in its view."""
        return photo_view(*sides, self.image_size, self.fit)

    def in_view(self, boxes, level, sides):
        """Checks boxes in pixels of a photo and returns them as shares of its view, clipped to it.

        Args:
          boxes: [M, 4] for objects, [M, 2, 4] for relations.
          sides: Width and height of the photo.
        """
        found = in_view(check_boxes(boxes, level, sides), self._place(sides)) / self.image_size
        return found.astype(np.float32)

    def share_in_view(self, boxes, sides):
        """The share of each box [M, 4], in pixels of a photo of this width and height, that its view shows."""
        return share_in_view(boxes, self._place(sides))

    def parts(self, image, boxes, level, style):
        """Pictures of objects or relations of an RGB photo, as the model was trained on: float [M, 3, P, P].

        Args:
          boxes: [M, 4] for objects, [M, 2, 4] for relations.
          style: What surrounds a relation's participants, one of `region_styles.STYLES`.
        """
        place = self._place(image.size)
        canvas = view_canvas(image, place)
        found = check_boxes(boxes, level, image.size)
        return self._normalized([show(canvas, b, place, image.size, level, style) for b in found])

    def _normalized(self, views):
        mean, std = np.float32(self.image_mean), np.float32(self.image_std)
        pixels = (np.stack(views).astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))

    def preprocess(self, images, return_tensors=None, **unknown):
        """Prepares one or several images: paths, PIL images, arrays or tensors of any framework.

        Arrays are uint8 (or floats from 0 to 1) with the axes [H, W, C], [C, H, W] or [H, W]; several in one
        array have an axis N in front.
        """
        refuse(unknown, ("images", "return_tensors"), "the image processor")
        pictures = separate(images)
        if not pictures:
            raise ValueError("no picture: the list is empty")
        data = {"pixel_values": self._normalized([self.view(picture) for picture in pictures])}
        return BatchFeature(data, tensor_type=return_tensors)


class ScenarioCLIPProcessor(ProcessorMixin):
    """Photos to `pixel_values` [N, 3, P, P], texts to `input_ids` [N, L].

    Args:
      lengths: Length L of texts by level, in tokens including begin and end; longer texts are cut.
      regions: views, if the model sees objects and relations as pictures of their own; or pooled, if they are
        boxes of whole photos.
      region_style: With views, what surrounds a relation's participants, one of `region_styles.STYLES`.
    """

    # Transformers 4 reads these; version 5 finds them itself and warns about one of them.
    attributes = ("image_processor", "tokenizer")
    tokenizer_class = "AutoTokenizer"
    if transformers.__version__.startswith("4."):
        image_processor_class = "AutoImageProcessor"

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        lengths=None,
        regions="views",
        region_style="stored",
        **kwargs,
    ):
        super().__init__(image_processor, tokenizer)
        self.regions, self.region_style = regions, region_style
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
          boxes: M objects [M, 4] or relations [M, 2, 4] of an image, as `level` says, x0, y0, x1, y1 in pixels
            of the upright photo; a list of such for several images. For models that pool regions they become
            `boxes` [N, M, 1 or 2, 4]; for others `pixel_values` are the parts of one image after the other.
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
                boxes = self._of_each(boxes, level, pictures)
            if boxes is None or self.regions == "pooled":
                data["pixel_values"] = self.image_processor.preprocess(pictures)["pixel_values"]
                if boxes is not None:
                    data["boxes"] = self._in_views(boxes, level, pictures)
            else:
                parts = [
                    self.image_processor.parts(picture, each, level, self.region_style)
                    for picture, each in zip(pictures, boxes, strict=True)
                ]
                data["pixel_values"] = np.concatenate(parts)
        elif boxes is not None:
            raise ValueError("boxes need the images that they are in")
        if text is not None:
            length = self.lengths[level] if max_length is None else max_length
            data["input_ids"] = self._ids(text, padding, truncation, length)
        return BatchFeature(data, tensor_type=return_tensors)

    def describe_many(
        self, model, photos, boxes=None, *, words, detector=None, threshold=0.25, **options
    ):
        """See `ScenarioCLIPModel.describe_many`."""
        options["detector"] = open_finder(detector, threshold, model.device)
        if isinstance(words, Mapping):
            chosen = functools.partial(from_lists, dict(words), "the words that were given")
        else:
            chosen = functools.partial(read_lists, Path(words))
        pictures = (to_rgb(photo) for photo in photos)
        return make_graphs(Encoder(model, self), pictures, boxes, words=chosen, **options)

    def cut_texts(self, texts, level):
        """The texts of which the model doesn't read the end, since they have more tokens than it reads."""
        ids = self.tokenizer(labels_of(texts), verbose=False)["input_ids"]
        length = self.lengths[level]
        return [text for text, own in zip(texts, ids, strict=True) if len(own) > length]

    def _of_each(self, boxes, level, pictures):
        """The boxes of each picture."""
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
        return boxes

    def _in_views(self, boxes, level, pictures):
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
