"""ScenarioCLIP (arXiv 2511.20274) in PyTorch: CLIP towers for three levels of a scene.

    model = AutoModel.from_pretrained(FOLDER, trust_remote_code=True)
    image = model.encode_image(pixel_values, "object")   # [N, embed_dim], not normalized
    text = model.encode_text(input_ids, "object")

These modules need only torch and transformers, 4.57 or newer. Parameter names are those of the published
implementation, as far as it has such parameters.
"""

import difflib
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from .describes_scenarioclip import Describes
from .regions_scenarioclip import Regions
from .towers_scenarioclip import TextEncoder, VisionEncoder

LEVELS = ("global", "object", "relation")


def refuse(unknown, known, where):
    """Raises TypeError for keywords that would be ignored."""
    for name in unknown:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(known)}"
        raise TypeError(f"{where} takes no argument {name!r}; {hint}")


def is_recorded():
    """Whether the model is being traced, exported or compiled, so that values can't be inspected."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


class ScenarioCLIPConfig(PretrainedConfig):
    """Sizes of a model.

    Args:
      arch: clip, pyramid_clip, scenario_clip_0, scenario_clip_1, scenario_clip_2 or
        scenario_clip_shared.
      vision: Values of width, depth, heads, mlp_dim, stem_blocks, activation, eps, image_size, patch_size.
      text: Values of the first seven of these, and of vocab_size, max_length, eos_id.
      embed_dim: Size of the embedding space.
      patch_packing: Whether images of objects and relations are seen without their black patches.
      regions: views, if objects and relations are pictures of their own, black outside; or pooled, if they are
        boxes of whole photos.
      object_parts: With pooled regions, parts along each side of an object's box that are pooled beside it.
      ends_as_objects: With pooled regions, whether a relation also reads what its two ends are as objects.
      logit_bias: Whether the model was trained with the sigmoid loss, which adds a bias to the logits.
      levels: Levels that the model was trained for.
      temperatures: What divides a level's logits in `describe`; 1 where there is none.
      pad_id: Id that fills texts up, which SigLIP's towers see.
    """

    model_type = "scenarioclip"
    attribute_map = {"projection_dim": "embed_dim"}  # noqa: RUF012

    def __init__(
        self,
        arch="scenario_clip_1",
        vision=None,
        text=None,
        embed_dim=512,
        patch_packing=False,
        regions="views",
        object_parts=1,
        ends_as_objects=False,
        logit_bias=False,
        levels=LEVELS,
        temperatures=None,
        pad_id=0,
        **kwargs,
    ):
        self.arch = arch
        self.vision = vision or {}
        self.text = text or {}
        self.embed_dim = embed_dim
        self.patch_packing = patch_packing
        self.regions = regions
        self.object_parts = object_parts
        self.ends_as_objects = ends_as_objects
        self.pad_id = pad_id
        self.logit_bias = logit_bias
        self.levels = list(levels)
        self.temperatures = dict(temperatures or {})
        super().__init__(**kwargs)


class Contrast(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.logit_bias = nn.Parameter(torch.zeros(())) if bias else 0.0


@dataclass
class ScenarioCLIPOutput(ModelOutput):
    """Embeddings [N, embed_dim], not normalized, and logits.

    A logit is min(exp(logit_scale), 100) times the cosine, plus the logit bias if there is one. `loss` is set
    with `return_loss=True`.
    """

    loss: torch.FloatTensor | None = None
    image_embeds: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    logits_per_image: torch.FloatTensor | None = None
    logits_per_text: torch.FloatTensor | None = None


LARGEST_PIXEL = 10  # normalized ones are from about -2 to 3, others up to 255
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INTEGERS = (torch.int64, torch.int32)


def check_tensor(value, name, types, argument):
    """Raises TypeError for what isn't a tensor of one of the types, such as pixels that weren't normalized."""
    found = value.dtype if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
    if found not in types:
        what = "normalized floats" if types is FLOATS else "token ids, int64 or int32,"
        raise TypeError(
            f"{name} is {found}; {what} in a tensor are expected: let the processor prepare them "
            f"(processor({argument}=...)[{name!r}])"
        )


class ScenarioCLIPModel(Describes, PreTrainedModel):
    """CLIP towers for three levels: a pair for each, or one for all (`pyramid_clip`, `scenario_clip_shared`).

    With `regions="pooled"` one vision tower sees whole photos, and objects and relations are boxes in them.
    """

    config_class = ScenarioCLIPConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config):
        super().__init__(config)
        own = {level: f"{level}_" for level in LEVELS}
        one = {"clip": "global_"}
        one |= dict.fromkeys(("pyramid_clip", "scenario_clip_2", "scenario_clip_shared"), "")
        towers = dict.fromkeys(LEVELS, one[config.arch]) if config.arch in one else own
        told = config.arch == "scenario_clip_shared"
        heads = own if told else towers
        self.pooled = config.regions == "pooled" and config.arch != "clip"
        # By tower: the prefixes of what serves each level.
        self.towers = {"visual": towers, "text": towers}
        self.heads = {"visual": heads, "text": heads}
        if self.pooled:
            self.towers["visual"] = dict.fromkeys(LEVELS, towers["global"])
            self.heads["visual"] = own
            sizes = config.vision
            grid = sizes["image_size"] // sizes["patch_size"]
            parts = config.object_parts, config.ends_as_objects
            self.regions = Regions(sizes["width"], sizes["heads"], grid, *parts)
        for tower, sizes, kind, head in (
            ("visual", config.vision, VisionEncoder, "image"),
            ("text", config.text, TextEncoder, "text"),
        ):
            for prefix in dict.fromkeys(self.towers[tower].values()):
                setattr(self, f"{prefix}{tower}_encoder", kind(sizes, config))
            for prefix in dict.fromkeys(self.heads[tower].values()):
                projection = nn.Linear(sizes["width"], config.embed_dim)
                setattr(self, f"{prefix}{head}_projection", projection)
                setattr(self, f"{prefix}{head}_norm", nn.LayerNorm(config.embed_dim))
            if told and not (self.pooled and tower == "visual"):
                # Not a ParameterDict, in which the key "global" would be a keyword to torch.export.
                for level in LEVELS:
                    vector = nn.Parameter(torch.zeros(sizes["width"]))
                    setattr(self, f"{tower}_level_{level}", vector)
        for level in ("global",) if config.arch == "clip" else LEVELS:
            setattr(self, f"{level}_loss", Contrast(config.logit_bias))
        self.post_init()

    def _init_weights(self, module):
        pass  # from_pretrained brings every weight

    def _tower(self, tower, level):
        return getattr(self, f"{self.towers[tower][level]}{tower}_encoder")

    def _told(self, tower, level):
        return getattr(self, f"{tower}_level_{level}", None)

    def _head(self, tower, level, x):
        name = f"{self.heads[tower][level]}{'image' if tower == 'visual' else 'text'}"
        return getattr(self, f"{name}_norm")(getattr(self, f"{name}_projection")(x))

    def _check(self, level):
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}; it must be one of {', '.join(LEVELS)}")

    def encode_image(self, pixel_values, level="global", boxes=None):
        """Embeds images [N, 3, P, P], prepared by the processor, at a level: [N, embed_dim].

        Args:
          boxes: If regions are pooled: M objects [N, M, 1, 4] or relations [N, M, 2, 4] of each image, prepared
            by the processor; then the result is [N, M, embed_dim]. Without, an image is all object or relation.
        """
        self._check(level)
        check_tensor(pixel_values, "pixel_values", FLOATS, "images")
        side = self.config.vision["image_size"]
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[1:]) != (3, side, side):
            raise ValueError(
                f"pixel_values are {tuple(pixel_values.shape)}; expected [N, 3, {side}, {side}]"
            )
        if not is_recorded() and pixel_values.device.type != "meta":
            if not (pixel_values.abs() <= LARGEST_PIXEL).all():
                raise ValueError(
                    f"pixel_values go beyond {LARGEST_PIXEL} or are NaN, so they weren't normalized: let the "
                    "processor prepare them (processor(images=...)['pixel_values'])"
                )
        self._check_boxes(boxes, level, pixel_values.shape[0])
        tower, pixels = self._tower("visual", level), pixel_values.to(self.dtype)
        finer = self.config.arch != "clip" and level != "global"
        if not (self.pooled and finer):
            masked = self.config.patch_packing and finer
            return self._head("visual", level, tower(pixels, masked, self._told("visual", level)))
        asked = boxes
        if asked is None:
            whole = pixels.new_tensor([0.0, 0.0, 1.0, 1.0])
            asked = whole.expand(pixels.shape[0], 1, 1 + (level == "relation"), 4)
        found = self._head("visual", level, self.regions(tower.tokens(pixels), asked, level))
        return found[:, 0] if boxes is None else found

    def _check_boxes(self, boxes, level, count):
        if boxes is None:
            return
        if not self.pooled:
            raise ValueError(
                "this model takes no boxes: it sees objects and relations as pictures of their own (README.md)"
            )
        if level == "global":
            raise ValueError("boxes are of the level 'object' or 'relation', not 'global'")
        check_tensor(boxes, "boxes", FLOATS, "images=..., boxes")
        ends = 1 + (level == "relation")
        if boxes.ndim != 4 or boxes.shape[0] != count or tuple(boxes.shape[2:]) != (ends, 4):
            raise ValueError(
                f"boxes are {tuple(boxes.shape)}; expected [{count}, M, {ends}, 4] at the level {level!r}: let "
                "the processor prepare them (processor(images=..., boxes=..., level=...)['boxes'])"
            )
        if not is_recorded() and boxes.device.type != "meta":
            if not ((boxes >= 0) & (boxes <= 1)).all():
                raise ValueError(
                    "boxes aren't shares of the view, from 0 to 1: let the processor prepare them "
                    "(processor(images=..., boxes=..., level=...)['boxes'])"
                )

    def encode_text(self, input_ids, level="global"):
        """Embeds token ids [N, L], each row with an end-of-text id, at a level: [N, embed_dim]."""
        self._check(level)
        check_tensor(input_ids, "input_ids", INTEGERS, "text")
        length = self.config.text["max_length"]
        if input_ids.ndim != 2 or input_ids.shape[1] > length:
            raise ValueError(
                f"input_ids are {tuple(input_ids.shape)}; expected [N, L], L at most {length}: let the "
                "processor cut the texts (or truncation=True)"
            )
        whole = self.config.text.get("pooling", "end_of_text") == "last"
        if whole and input_ids.shape[1] < length:  # it reads the last of all tokens
            room = (0, length - input_ids.shape[1])
            input_ids = functional.pad(input_ids, room, value=self.config.pad_id)
        if not is_recorded() and input_ids.device.type != "meta":
            vocabulary = self.config.text["vocab_size"]
            if not ((input_ids >= 0) & (input_ids < vocabulary)).all():
                raise ValueError(f"input_ids must be from 0 to {vocabulary - 1}")
            ended = (input_ids == self.config.text["eos_id"]).any(1)
            if not ended.all():
                rows = (~ended).nonzero().flatten()[:10].tolist()
                raise ValueError(
                    f"no end-of-text id {self.config.text['eos_id']} in rows {rows} of input_ids"
                )
        read = self._tower("text", level)(input_ids, self._told("text", level))
        return self._head("text", level, read)

    def get_image_features(self, pixel_values, level="global", boxes=None):
        """`encode_image` under the name that other Transformers models use."""
        return self.encode_image(pixel_values, level, boxes)

    def get_text_features(self, input_ids, attention_mask=None, level="global"):
        """`encode_text` under the name that other Transformers models use; see `forward` for the mask."""
        self._check_mask(attention_mask)
        return self.encode_text(input_ids, level)

    def get_input_embeddings(self):
        """The token embedding of the global level's text tower."""
        return self._tower("text", "global").text_model.embeddings.token_embedding

    def set_input_embeddings(self, value):
        self._tower("text", "global").text_model.embeddings.token_embedding = value

    def _check_mask(self, mask):
        """Checks the mask: tokens after the end of a text are never seen, but no others can be hidden."""
        if mask is None or is_recorded() or mask.device.type == "meta":
            return
        if (mask.bool()[:, 1:] & ~mask.bool()[:, :-1]).any() or not mask.bool()[:, :1].all():
            raise ValueError(
                "attention_mask hides tokens before a text's end; texts are padded on the right "
                "(padding_side='right')"
            )

    def logit_scale(self, level="global"):
        """Factor on the cosines: min(exp(logit_scale), 100)."""
        return self._contrast(level).logit_scale.exp().clamp(max=100)

    def _contrast(self, level):
        self._check(level)
        return getattr(self, "global_loss" if self.config.arch == "clip" else f"{level}_loss")

    def forward(
        self,
        pixel_values=None,
        input_ids=None,
        level="global",
        attention_mask=None,
        return_loss=None,
        return_dict=None,
        boxes=None,
        **unknown,
    ):
        """Embeds images, texts or both, and compares them.

        Args:
          boxes: Boxes in the images, see `encode_image`; embeddings are then [N * M, embed_dim].
          attention_mask: Mask as returned by tokenizers; tokens after the end of a text are never seen anyway.
          return_loss: Whether to return the contrastive loss of a batch whose images and texts are pairs in
            order: CLIP's softmax loss both ways or, with a logit bias, the sigmoid loss.
        """
        known = (
            "pixel_values",
            "input_ids",
            "level",
            "attention_mask",
            "return_loss",
            "return_dict",
            "boxes",
        )
        refuse(unknown, known, "the model")
        if pixel_values is None and input_ids is None:
            raise ValueError("nothing to embed: give pixel_values, input_ids or both")
        self._check_mask(attention_mask)
        image = None
        if pixel_values is not None:
            image = self.encode_image(pixel_values, level, boxes).flatten(0, -2)
        text = None if input_ids is None else self.encode_text(input_ids, level)
        logits = loss = None
        if image is not None and text is not None:
            cosine = functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).T
            logits = self.logit_scale(level) * cosine + self._contrast(level).logit_bias
        if return_loss:
            loss = self._loss(logits)
        output = ScenarioCLIPOutput(
            image_embeds=image,
            text_embeds=text,
            logits_per_image=logits,
            logits_per_text=None if logits is None else logits.T,
            loss=loss,
        )
        return output.to_tuple() if return_dict is False else output

    def _loss(self, logits):
        if logits is None or logits.shape[0] != logits.shape[1]:
            raise ValueError("return_loss needs as many pictures as texts")
        if self.config.logit_bias:
            signs = 2 * torch.eye(logits.shape[0], device=logits.device) - 1
            return -functional.logsigmoid(signs * logits).sum() / logits.shape[0]
        labels = torch.arange(logits.shape[0], device=logits.device)
        both = functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)
        return both / 2
