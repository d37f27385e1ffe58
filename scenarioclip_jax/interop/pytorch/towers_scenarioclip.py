"""Towers of CLIP and SigLIP, with the parameter names of the published implementation and of Transformers."""

import torch
from torch import nn
from torch.nn import functional


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def tanh_gelu(x):
    return functional.gelu(x, approximate="tanh")


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": functional.gelu, "gelu_pytorch_tanh": tanh_gelu}


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
        self.stem_blocks = sizes.get("stem_blocks", 0)
        self.gradient_checkpointing = False  # Transformers sets it, and the function

    def forward(self, x, causal=False, mask=None, told=None):
        """Runs the stack.

        Args:
          mask: Marks the tokens that are seen, bool [N, 1, 1, T]; None for all of them.
          told: Vector [W] that tells the level, added to all tokens behind the stem; None for none.
        """
        for index, layer in enumerate(self.layers):
            if told is not None and index == self.stem_blocks:
                x = x + told
            if self.gradient_checkpointing and self.training:
                x = self._gradient_checkpointing_func(layer.__call__, x, causal, mask)
            else:
                x = layer(x, causal, mask)
        if told is not None and self.stem_blocks == len(self.layers):
            x = x + told
        return x


class AttentionPool(nn.Module):
    """SigLIP's: one learned query pools all tokens, [N, T, W] to [N, W]."""

    def __init__(self, sizes):
        super().__init__()
        width = sizes["width"]
        self.probe = nn.Parameter(torch.zeros(1, 1, width))
        self.attention = nn.MultiheadAttention(width, sizes["heads"], batch_first=True)
        self.layernorm = nn.LayerNorm(width, eps=sizes["eps"])
        self.mlp = Mlp(width, sizes["mlp_dim"], sizes["activation"])

    def forward(self, tokens):
        probe = self.probe.expand(tokens.shape[0], -1, -1)
        x = self.attention(probe, tokens, tokens, need_weights=False)[0]
        return (x + self.mlp(self.layernorm(x)))[:, 0]


def has_class_token(sizes):
    """Whether a vision tower is CLIP's; SigLIP's pools its patches."""
    return sizes.get("pooling", "class_token") == "class_token"


class VisionEmbeddings(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        width, patch = sizes["width"], sizes["patch_size"]
        tokens = (sizes["image_size"] // patch) ** 2
        self.class_embedding = None
        if has_class_token(sizes):
            self.class_embedding = nn.Parameter(torch.zeros(width))
            tokens += 1
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding(tokens, width)

    def forward(self, pixels):
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        if self.class_embedding is None:
            return patches + self.position_embedding.weight
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
        self.pre_layrnorm = nn.Identity()
        self.head = None if has_class_token(sizes) else AttentionPool(sizes)
        if self.head is None:
            self.pre_layrnorm = nn.LayerNorm(sizes["width"], eps=sizes["eps"])
        self.encoder = Encoder(sizes, config)
        self.post_layernorm = nn.LayerNorm(sizes["width"], eps=sizes["eps"])

    def forward(self, pixels, visible_only=False, told=None):
        """Returns what is read out [N, W] and the patch tokens [N, T, W], both behind the final norm."""
        mask = self.visible(pixels) if visible_only else None
        x = self.encoder(self.pre_layrnorm(self.embeddings(pixels)), mask=mask, told=told)
        x = self.post_layernorm(x)
        return (x[:, 0], x[:, 1:]) if self.head is None else (self.head(x), x)

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
        self.causal = sizes.get("pooling", "end_of_text") == "end_of_text"
        self.embeddings = TextEmbeddings(sizes)
        self.encoder = Encoder(sizes, config)
        self.final_layer_norm = nn.LayerNorm(sizes["width"], eps=sizes["eps"])

    def forward(self, ids, told=None):
        x = self.encoder(self.embeddings(ids), causal=self.causal, told=told)
        if not self.causal:
            return self.final_layer_norm(x[:, -1])
        first_eos = (ids == self.eos_id).int().argmax(dim=1)
        # Not len(x): tracing makes that a constant, and other batches would get the first texts' features.
        rows = torch.arange(x.shape[0], device=x.device)
        return self.final_layer_norm(x[rows, first_eos])


class VisionEncoder(nn.Module):
    def __init__(self, sizes, config):
        super().__init__()
        self.vision_model = VisionTransformer(sizes, config)

    def forward(self, pixels, visible_only=False, told=None):
        """Embeds whole pictures: [N, W]."""
        return self.vision_model(pixels, visible_only, told)[0]

    def tokens(self, pixels):
        """The patch tokens of whole photos: [N, T, W]."""
        return self.vision_model(pixels)[1]


class TextEncoder(nn.Module):
    def __init__(self, sizes, config):
        super().__init__()
        self.text_model = TextTransformer(sizes, config)

    def forward(self, ids, told=None):
        return self.text_model(ids, told)
