"""Converts one tower of CLIP or SigLIP between Hugging Face's parameter names and ours, both ways, in NumPy.

Names are relative to the tower: theirs are those below `vision_model.` or `text_model.`, ours those below a
modality, with `{part}` for `stem` or `trunk`. Only layouts change, so a round trip is bit-identical.
"""

import re

import numpy as np

from scenarioclip_jax.models.towers import TowerConfig, VisionConfig

Arrays = dict[str, np.ndarray]

# Theirs -> ours, outside the blocks.
VISION_NAMES = {
    "embeddings.class_embedding": "stem/cls",
    "embeddings.patch_embedding.weight": "stem/patch",
    "embeddings.position_embedding.weight": "stem/position",
    "pre_layrnorm.weight": "stem/pre_norm/scale",  # the spelling is Hugging Face's
    "pre_layrnorm.bias": "stem/pre_norm/bias",
    "post_layernorm.weight": "trunk/post_norm/scale",
    "post_layernorm.bias": "trunk/post_norm/bias",
}
TEXT_NAMES = {
    "embeddings.token_embedding.weight": "stem/token",
    "embeddings.position_embedding.weight": "stem/position",
    "final_layer_norm.weight": "trunk/final_norm/scale",
    "final_layer_norm.bias": "trunk/final_norm/bias",
}
# Theirs -> ours, inside a block, for arrays that map one to one.
BLOCK_NAMES = {
    "layer_norm1.weight": "norm1/scale",
    "layer_norm1.bias": "norm1/bias",
    "layer_norm2.weight": "norm2/scale",
    "layer_norm2.bias": "norm2/bias",
    "mlp.fc1.weight": "fc1/kernel",
    "mlp.fc1.bias": "fc1/bias",
    "mlp.fc2.weight": "fc2/kernel",
    "mlp.fc2.bias": "fc2/bias",
    "self_attn.out_proj.weight": "out/kernel",
    "self_attn.out_proj.bias": "out/bias",
}
# The same for what SigLIP has in place of a class token and the norm before the blocks.
POOLING_NAMES = {
    "head.probe": "trunk/pooling/probe",
    "head.layernorm.weight": "trunk/pooling/norm/scale",
    "head.layernorm.bias": "trunk/pooling/norm/bias",
    "head.mlp.fc1.weight": "trunk/pooling/expand/kernel",
    "head.mlp.fc1.bias": "trunk/pooling/expand/bias",
    "head.mlp.fc2.weight": "trunk/pooling/reduce/kernel",
    "head.mlp.fc2.bias": "trunk/pooling/reduce/bias",
}
POOLING_ATTENTION = "head.attention."
POOLING = "trunk/pooling/"
PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def names_of(config: TowerConfig) -> dict[str, str]:
    """The names outside the blocks for this kind of tower, theirs -> ours."""
    if not isinstance(config, VisionConfig):
        return TEXT_NAMES
    if config.has_class_token:
        return VISION_NAMES
    absent = ("stem/cls", "stem/pre_norm/")
    return {name: path for name, path in VISION_NAMES.items() if not path.startswith(absent)}


def expected_shapes(config: TowerConfig) -> dict[str, tuple[int, ...]]:
    """The name and shape of every array in one of their towers."""
    width, mlp = config.width, config.mlp_dim
    norm = {"weight": (width,), "bias": (width,)}
    linear = {"weight": (width, width), "bias": (width,)}
    block = {
        "layer_norm1": norm,
        "layer_norm2": norm,
        "mlp.fc1": {"weight": (mlp, width), "bias": (mlp,)},
        "mlp.fc2": {"weight": (width, mlp), "bias": (width,)},
        "self_attn.out_proj": linear,
        **dict.fromkeys(PROJECTIONS, linear),
    }
    if isinstance(config, VisionConfig):
        patch = config.patch_size
        shapes = {
            "embeddings.patch_embedding.weight": (width, 3, patch, patch),
            "embeddings.position_embedding.weight": (config.tokens, width),
        }
        norms = ("post_layernorm",)
        if config.has_class_token:
            shapes["embeddings.class_embedding"] = (width,)
            norms += ("pre_layrnorm",)
        else:
            shapes |= _pooling_shapes(width, mlp)
    else:
        shapes = {
            "embeddings.token_embedding.weight": (config.vocab_size, width),
            "embeddings.position_embedding.weight": (config.max_length, width),
        }
        norms = ("final_layer_norm",)
    shapes |= {f"{name}.{leaf}": (width,) for name in norms for leaf in norm}
    for layer in range(config.depth):
        for module, leaves in block.items():
            for leaf, shape in leaves.items():
                shapes[f"encoder.layers.{layer}.{module}.{leaf}"] = shape
    return shapes


def _pooling_shapes(width: int, mlp: int) -> dict[str, tuple[int, ...]]:
    return {
        "head.probe": (1, 1, width),
        "head.attention.in_proj_weight": (3 * width, width),
        "head.attention.in_proj_bias": (3 * width,),
        "head.attention.out_proj.weight": (width, width),
        "head.attention.out_proj.bias": (width,),
        "head.layernorm.weight": (width,),
        "head.layernorm.bias": (width,),
        "head.mlp.fc1.weight": (mlp, width),
        "head.mlp.fc1.bias": (mlp,),
        "head.mlp.fc2.weight": (width, mlp),
        "head.mlp.fc2.bias": (width,),
    }


def to_ours(theirs: Arrays, config: TowerConfig) -> Arrays:
    """Converts one of their towers to our names and layouts, with blocks stacked along depth.

    `theirs` must have the names and shapes of `expected_shapes`; the caller checks and reports this.
    """
    ours = {}
    for name, path in names_of(config).items():
        ours[path] = theirs[name].transpose(2, 3, 1, 0) if path == "stem/patch" else theirs[name]
    blocks = [_block_to_ours(theirs, f"encoder.layers.{i}.", config) for i in range(config.depth)]
    if isinstance(config, VisionConfig) and not config.has_class_token:
        ours |= _pooling_to_ours(theirs, config)
    for part, layers in _parts(blocks, config).items():
        for path in layers[0] if layers else ():
            ours[f"{part}/stack/blocks/{path}"] = np.stack([layer[path] for layer in layers])
    return ours


def to_theirs(ours: Arrays, config: TowerConfig) -> Arrays:
    """The inverse of `to_ours`."""
    theirs = {}
    for name, path in names_of(config).items():
        theirs[name] = ours[path].transpose(3, 2, 0, 1) if path == "stem/patch" else ours[path]
    if isinstance(config, VisionConfig) and not config.has_class_token:
        theirs |= _pooling_to_theirs(ours, config)
    for part, layers in _parts(list(range(config.depth)), config).items():
        pattern = re.compile(rf"{part}/stack/blocks/(.+)")
        stacked = {m[1]: value for path, value in ours.items() if (m := pattern.fullmatch(path))}
        for index, layer in enumerate(layers):
            block = {path: value[index] for path, value in stacked.items()}
            theirs |= _block_to_theirs(block, f"encoder.layers.{layer}.", config)
    return theirs


def _pooling_to_ours(theirs: Arrays, config: VisionConfig) -> Arrays:
    heads, width = config.heads, config.width
    split = (heads, width // heads)
    ours = {}
    for name, path in POOLING_NAMES.items():
        value = theirs[name]
        ours[path] = value.reshape(width) if name == "head.probe" else value.T
    attention = {
        each: theirs[POOLING_ATTENTION + each] for each in ("in_proj_weight", "in_proj_bias")
    }
    weights = np.split(attention["in_proj_weight"], 3)  # of queries, keys, values: [out, in]
    biases = np.split(attention["in_proj_bias"], 3)
    ours[f"{POOLING}query/kernel"] = weights[0].T.reshape(width, *split)
    ours[f"{POOLING}query/bias"] = biases[0].reshape(split)
    kernel = np.stack([weight.T for weight in weights[1:]], axis=1)
    ours[f"{POOLING}key_value/kernel"] = kernel.reshape(width, 2, *split)
    ours[f"{POOLING}key_value/bias"] = np.stack(biases[1:]).reshape(2, *split)
    ours[f"{POOLING}merge/kernel"] = theirs[f"{POOLING_ATTENTION}out_proj.weight"].T.reshape(
        *split, width
    )
    ours[f"{POOLING}merge/bias"] = theirs[f"{POOLING_ATTENTION}out_proj.bias"]
    return ours


def _pooling_to_theirs(ours: Arrays, config: VisionConfig) -> Arrays:
    width = config.width
    theirs = {}
    for name, path in POOLING_NAMES.items():
        theirs[name] = ours[path].reshape(1, 1, width) if name == "head.probe" else ours[path].T
    query, both = ours[f"{POOLING}query/kernel"], ours[f"{POOLING}key_value/kernel"]
    kernels = [query, both[:, 0], both[:, 1]]
    biases = [ours[f"{POOLING}query/bias"], *ours[f"{POOLING}key_value/bias"]]
    theirs[f"{POOLING_ATTENTION}in_proj_weight"] = np.concatenate(
        [kernel.reshape(width, width).T for kernel in kernels]
    )
    theirs[f"{POOLING_ATTENTION}in_proj_bias"] = np.concatenate(
        [bias.reshape(width) for bias in biases]
    )
    merge = ours[f"{POOLING}merge/kernel"].reshape(width, width)
    theirs[f"{POOLING_ATTENTION}out_proj.weight"] = merge.T
    theirs[f"{POOLING_ATTENTION}out_proj.bias"] = ours[f"{POOLING}merge/bias"]
    return theirs


def _parts(blocks: list, config: TowerConfig) -> dict[str, list]:
    return {"stem": blocks[: config.stem_blocks], "trunk": blocks[config.stem_blocks :]}


def _block_to_ours(theirs: Arrays, prefix: str, config: TowerConfig) -> Arrays:
    heads, width = config.heads, config.width
    ours = {}
    for name, path in BLOCK_NAMES.items():
        value = theirs[prefix + name]
        ours[path] = value.T if value.ndim == 2 else value  # torch stores [out, in]
    ours["out/kernel"] = ours["out/kernel"].reshape(heads, width // heads, width)
    weights = [theirs[f"{prefix}{name}.weight"].T for name in PROJECTIONS]
    biases = [theirs[f"{prefix}{name}.bias"] for name in PROJECTIONS]
    ours["qkv/kernel"] = np.stack(weights, axis=1).reshape(width, 3, heads, width // heads)
    ours["qkv/bias"] = np.stack(biases).reshape(3, heads, width // heads)
    return ours


def _block_to_theirs(ours: Arrays, prefix: str, config: TowerConfig) -> Arrays:
    width = config.width
    theirs = {}
    for name, path in BLOCK_NAMES.items():
        value = ours[path].reshape(width, width) if path == "out/kernel" else ours[path]
        theirs[prefix + name] = value.T if value.ndim == 2 else value
    for index, name in enumerate(PROJECTIONS):
        theirs[f"{prefix}{name}.weight"] = ours["qkv/kernel"][:, index].reshape(width, width).T
        theirs[f"{prefix}{name}.bias"] = ours["qkv/bias"][index].reshape(width)
    return theirs
