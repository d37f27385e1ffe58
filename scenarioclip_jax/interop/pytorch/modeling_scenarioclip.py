"""ScenarioCLIP (arXiv 2511.20274) in PyTorch: CLIP towers for three levels of a scene.

    model = AutoModel.from_pretrained(FOLDER, trust_remote_code=True)
    image = model.encode_image(pixel_values, "object")   # [N, embed_dim], not normalized
    text = model.encode_text(input_ids, "object")

This file needs only torch and transformers, 4.57 or newer. Parameter names are those of the published
implementation.
"""

import difflib
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

LEVELS = ("global", "object", "relation")


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": functional.gelu}


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
      arch: clip, pyramid_clip, scenario_clip_0 or scenario_clip_1.
      vision: Values of width, depth, heads, mlp_dim, activation, eps, image_size, patch_size.
      text: Values of width, depth, heads, mlp_dim, activation, eps, vocab_size, max_length, eos_id.
      embed_dim: Size of the embedding space.
      patch_packing: Whether images of objects and relations are seen without their black patches.
      logit_bias: Whether the model was trained with the sigmoid loss, which adds a bias to the logits.
      levels: Levels that the model was trained for.
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
        logit_bias=False,
        levels=LEVELS,
        **kwargs,
    ):
        self.arch = arch
        self.vision = vision or {}
        self.text = text or {}
        self.embed_dim = embed_dim
        self.patch_packing = patch_packing
        self.logit_bias = logit_bias
        self.levels = list(levels)
        super().__init__(**kwargs)


class Attention(nn.Module):
    def __init__(self, width, heads, config):
        super().__init__()
        self.heads, self.config = heads, config
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x, causal, mask):
        def split(y):  # [N, T, W] -> [N, heads, T, W / heads]
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        query, key, value = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        attend = functional.scaled_dot_product_attention
        if self.config._attn_implementation == "eager":
            attend = eager_attention
        mixed = attend(query, key, value, attn_mask=mask, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


def eager_attention(query, key, value, attn_mask, is_causal):
    """`scaled_dot_product_attention` step by step."""
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if is_causal:
        tokens = scores.shape[-1]
        attn_mask = torch.ones(tokens, tokens, dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ value


class Mlp(nn.Module):
    def __init__(self, width, mlp_dim, activation):
        super().__init__()
        self.fc1 = nn.Linear(width, mlp_dim)
        self.fc2 = nn.Linear(mlp_dim, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x):
        return self.fc2(self.activation(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, sizes, config):
        super().__init__()
        width = sizes["width"]
        self.layer_norm1 = nn.LayerNorm(width, eps=sizes["eps"])
        self.self_attn = Attention(width, sizes["heads"], config)
        self.layer_norm2 = nn.LayerNorm(width, eps=sizes["eps"])
        self.mlp = Mlp(width, sizes["mlp_dim"], sizes["activation"])

    def forward(self, x, causal, mask):
        x = x + self.self_attn(self.layer_norm1(x), causal, mask)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    def __init__(self, sizes, config):
        super().__init__()
        self.layers = nn.ModuleList(Block(sizes, config) for _ in range(sizes["depth"]))
        self.gradient_checkpointing = False  # Transformers sets it, and the function

    def forward(self, x, causal=False, mask=None):
        """Runs the stack. `mask`, bool [N, 1, 1, T], marks the tokens that are seen; None for all of them."""
        for layer in self.layers:
            if self.gradient_checkpointing and self.training:
                x = self._gradient_checkpointing_func(layer.__call__, x, causal, mask)
            else:
                x = layer(x, causal, mask)
        return x


class VisionEmbeddings(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        width, patch = sizes["width"], sizes["patch_size"]
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding((sizes["image_size"] // patch) ** 2 + 1, width)

    def forward(self, pixels):
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(pixels.shape[0], 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


# A normalized black pixel, and half a gray level in the channel where it is smallest.
BLACK = (-0.48145466 / 0.26862954, -0.4578275 / 0.26130258, -0.40821073 / 0.27577711)
DIM = 0.5 / 255 / 0.27577711


class VisionTransformer(nn.Module):
    def __init__(self, sizes, config):
        super().__init__()
        self.patch_size = sizes["patch_size"]
        self.embeddings = VisionEmbeddings(sizes)
        self.pre_layrnorm = nn.LayerNorm(sizes["width"], eps=sizes["eps"])
        self.encoder = Encoder(sizes, config)
        self.post_layernorm = nn.LayerNorm(sizes["width"], eps=sizes["eps"])

    def forward(self, pixels, visible_only=False):
        mask = self.visible(pixels) if visible_only else None
        x = self.encoder(self.pre_layrnorm(self.embeddings(pixels)), mask=mask)
        return self.post_layernorm(x[:, 0])

    def visible(self, pixels):
        """The class token and the patches that aren't black, bool [N, 1, 1, T]."""
        black = pixels.new_tensor(BLACK)[:, None, None]
        lit = ((pixels - black).abs() > DIM).any(1, keepdim=True).float()
        patches = functional.max_pool2d(lit, self.patch_size).flatten(1) > 0
        return functional.pad(patches, (1, 0), value=True)[:, None, None]


class TextEmbeddings(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.token_embedding = nn.Embedding(sizes["vocab_size"], sizes["width"])
        self.position_embedding = nn.Embedding(sizes["max_length"], sizes["width"])

    def forward(self, ids):
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class TextTransformer(nn.Module):
    def __init__(self, sizes, config):
        super().__init__()
        self.eos_id = sizes["eos_id"]
        self.embeddings = TextEmbeddings(sizes)
        self.encoder = Encoder(sizes, config)
        self.final_layer_norm = nn.LayerNorm(sizes["width"], eps=sizes["eps"])

    def forward(self, ids):
        x = self.encoder(self.embeddings(ids), causal=True)
        first_eos = (ids == self.eos_id).int().argmax(dim=1)
        # Not len(x): tracing makes that a constant, and other batches would get the first texts' features.
        rows = torch.arange(x.shape[0], device=x.device)
        return self.final_layer_norm(x[rows, first_eos])


class VisionEncoder(nn.Module):
    def __init__(self, sizes, config):
        super().__init__()
        self.vision_model = VisionTransformer(sizes, config)

    def forward(self, pixels, visible_only):
        return self.vision_model(pixels, visible_only)


class TextEncoder(nn.Module):
    def __init__(self, sizes, config):
        super().__init__()
        self.text_model = TextTransformer(sizes, config)

    def forward(self, ids):
        return self.text_model(ids)


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


class ScenarioCLIPModel(PreTrainedModel):
    """One pair of towers per level, or one for all levels (`pyramid_clip`), or for all texts (`clip`)."""

    config_class = ScenarioCLIPConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config):
        super().__init__(config)
        self.prefixes = {
            "clip": dict.fromkeys(LEVELS, "global_"),
            "pyramid_clip": dict.fromkeys(LEVELS, ""),
        }.get(config.arch, {level: f"{level}_" for level in LEVELS})
        for prefix in dict.fromkeys(self.prefixes.values()):
            for tower, sizes, kind, head in (
                ("visual_encoder", config.vision, VisionEncoder, "image"),
                ("text_encoder", config.text, TextEncoder, "text"),
            ):
                setattr(self, f"{prefix}{tower}", kind(sizes, config))
                projection = nn.Linear(sizes["width"], config.embed_dim)
                setattr(self, f"{prefix}{head}_projection", projection)
                setattr(self, f"{prefix}{head}_norm", nn.LayerNorm(config.embed_dim))
        for level in ("global",) if config.arch == "clip" else LEVELS:
            setattr(self, f"{level}_loss", Contrast(config.logit_bias))
        self.post_init()

    def _init_weights(self, module):
        pass  # from_pretrained brings every weight

    def _head(self, name, level, x):
        prefix = self.prefixes[level]
        projection = getattr(self, f"{prefix}{name}_projection")
        return getattr(self, f"{prefix}{name}_norm")(projection(x))

    def _check(self, level):
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}; it must be one of {', '.join(LEVELS)}")

    def encode_image(self, pixel_values, level="global"):
        """Embeds images [N, 3, P, P], prepared by the processor, at a level: [N, embed_dim]."""
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
        tower = getattr(self, f"{self.prefixes[level]}visual_encoder")
        masked = self.config.patch_packing and self.config.arch != "clip" and level != "global"
        return self._head("image", level, tower(pixel_values.to(self.dtype), masked))

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
        tower = getattr(self, f"{self.prefixes[level]}text_encoder")
        return self._head("text", level, tower(input_ids))

    def get_image_features(self, pixel_values, level="global"):
        """`encode_image` under the name that other Transformers models use."""
        return self.encode_image(pixel_values, level)

    def get_text_features(self, input_ids, attention_mask=None, level="global"):
        """`encode_text` under the name that other Transformers models use; see `forward` for the mask."""
        self._check_mask(attention_mask)
        return self.encode_text(input_ids, level)

    def get_input_embeddings(self):
        """The token embedding of the global level's text tower."""
        tower = getattr(self, f"{self.prefixes['global']}text_encoder")
        return tower.text_model.embeddings.token_embedding

    def set_input_embeddings(self, value):
        tower = getattr(self, f"{self.prefixes['global']}text_encoder")
        tower.text_model.embeddings.token_embedding = value

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
        **unknown,
    ):
        """Embeds images, texts or both, and compares them.

        Args:
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
        )
        refuse(unknown, known, "the model")
        if pixel_values is None and input_ids is None:
            raise ValueError("nothing to embed: give pixel_values, input_ids or both")
        self._check_mask(attention_mask)
        image = None if pixel_values is None else self.encode_image(pixel_values, level)
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
