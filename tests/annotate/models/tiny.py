"""Tiny models of random weights, of the very classes that annotate, saved as they are published."""

import json
import shutil
from pathlib import Path

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    ".",
    "dog",
    "cat",
    "um",
    "##brella",
    "red",
    "car",
]


def grounding_dino(folder: Path, kind: str = "GroundingDino") -> str:
    """A detector of one text. Its text encoder takes 14 tokens.

    Args:
      folder: Where it is saved.
      kind: "GroundingDino" or "MMGroundingDino".
    """
    import transformers

    folder.mkdir()
    (folder / "words.txt").write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizer(str(folder / "words.txt"))
    swin = transformers.SwinConfig(
        image_size=32,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        out_indices=[2, 3, 4],
    )
    bert = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
    )
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=swin,
        text_config=bert,
        d_model=32,  # the least that its normalization takes
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=6,
        max_text_len=14,
    )
    size = {"shortest_edge": 96, "longest_edge": 160}
    images = transformers.GroundingDinoImageProcessorPil(size=size)
    transformers.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    getattr(transformers, f"{kind}ForObjectDetection")(config).save_pretrained(folder)
    return str(folder)


def owlv2(folder: Path) -> str:
    """A detector of lists of texts."""
    import transformers

    folder.mkdir()
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    tokens = ["!", *letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token="!"
    )
    layers = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = transformers.Owlv2Config(
        text_config={**layers, "vocab_size": len(tokens), "max_position_embeddings": 16},
        vision_config={**layers, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    images = transformers.Owlv2ImageProcessorPil(size={"height": 32, "width": 32})
    transformers.Owlv2Processor(images, tokenizer).save_pretrained(folder)
    transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
    return str(folder)


def sam(folder: Path, kind: str = "Sam", side: int = 64) -> str:
    """A segmenter of boxes.

    Args:
      folder: Where it is saved.
      kind: "Sam", "Sam2" or "Sam3Tracker".
      side: Side of the square that it sees.
    """
    import transformers

    prompt = {"image_size": side, "patch_size": 16, "hidden_size": 32, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    }
    configs = {
        "Sam": {
            "hidden_size": 16,
            "output_channels": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": side,
            "mlp_dim": 16,
            "num_pos_feats": 16,
            "global_attn_indexes": [0],
            "initializer_range": 0.02,
        },
        "Sam2": {
            "fpn_hidden_size": 32,
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "image_size": [side, side],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 2, 2],
                "window_size_per_stage": [8, 4, 4, 2],
                "window_positional_embedding_background_size": [2, 2],
                "global_attention_blocks": [3],
            },
        },
        "Sam3Tracker": {
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
            "scale_factors": [4.0, 2.0, 1.0, 0.5],
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": side,
                "patch_size": 16,
                "pretrain_image_size": side,
                "window_size": 2,
                "global_attn_indexes": [0],
            },
        },
    }
    if kind == "Sam2":
        configs[kind]["model_type"] = "sam2_vision_model"
    if kind == "Sam3Tracker":
        configs[kind]["model_type"] = "sam3_vision_model"
    config = getattr(transformers, f"{kind}Config")(
        vision_config=configs[kind], prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    # As published; classes of their processors can't be made without torchvision.
    settings = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return str(folder)


def sam2_video(folder: Path) -> str:
    """SAM 2 as it is published: the weights of the model of videos."""
    import transformers

    source = folder.with_name(f"{folder.name}-image")
    image = transformers.Sam2Config.from_pretrained(sam(source, "Sam2"))
    config = transformers.Sam2VideoConfig(
        vision_config=image.vision_config,
        prompt_encoder_config=image.prompt_encoder_config.to_dict(),
        mask_decoder_config=image.mask_decoder_config.to_dict(),
        image_size=64,
        memory_attention_hidden_size=32,
        memory_attention_feed_forward_hidden_size=16,
        memory_attention_num_layers=1,
        memory_attention_num_attention_heads=1,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=32,
        memory_encoder_output_channels=8,
        mask_downsampler_embed_dim=32,
        memory_fuser_embed_dim=32,
        memory_fuser_intermediate_dim=16,
        memory_fuser_num_layers=1,
    )
    transformers.Sam2VideoModel(config).save_pretrained(folder)
    shutil.copy(source / "preprocessor_config.json", folder)
    return str(folder)


def sam3_video(folder: Path) -> str:
    """SAM 3 as it is published: the tracker shares the detector's encoder. (Its class needs torchvision.)"""
    import transformers
    from safetensors.torch import save_file

    source = folder.with_name(f"{folder.name}-image")
    config = json.loads((Path(sam(source, "Sam3Tracker")) / "config.json").read_text())
    shared = {
        "vision_encoder.backbone.": "detector_model.vision_encoder.backbone.",
        "vision_encoder.neck.": "tracker_neck.",
    }

    def published(name):
        for own, other in shared.items():
            if name.startswith(own):
                return name.replace(own, other, 1)
        return f"tracker_model.{name}"

    weights = transformers.Sam3TrackerModel.from_pretrained(source).state_dict()
    folder.mkdir()
    save_file(
        {published(name): array.clone() for name, array in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    tracker = config | {"model_type": "sam3_tracker_video"}
    video = {"model_type": "sam3_video", "tracker_config": tracker}
    (folder / "config.json").write_text(json.dumps(video))
    shutil.copy(source / "preprocessor_config.json", folder)
    return str(folder)


def llava(folder: Path, template: bool = True) -> str:
    """A vision-language model that writes letters.

    Args:
      folder: Where it is saved.
      template: Whether it has a chat template.
    """
    import tokenizers
    import torch
    import transformers

    core, vocabulary = _letters("<s>", "</s>", "<image>")
    core.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    chat = (
        "<s>{% for part in messages[0].content %}"
        "{{ '<image>' if part.type == 'image' else part.text }}{% endfor %}\n"
    )
    images = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor = transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=chat if template else None,
        num_additional_image_tokens=1,
    )
    layers = {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=16, image_size=32, patch_size=16, projection_dim=16, **layers
        ),
        text_config=transformers.LlamaConfig(
            hidden_size=32,
            vocab_size=len(vocabulary),
            max_position_embeddings=4096,
            pad_token_id=vocabulary["<pad>"],
            bos_token_id=vocabulary["<s>"],
            eos_token_id=vocabulary["</s>"],
            **layers,
        ),
        image_token_index=vocabulary["<image>"],
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = vocabulary["</s>"]
    processor.save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


def qwen3_vl(folder: Path) -> str:
    """A vision-language model whose prompts are longer for larger photos. Needs torchvision."""
    import torch
    import transformers

    marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    core, vocabulary = _letters("<|im_end|>", *marks)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        unk_token="<unk>",
        additional_special_tokens=list(marks),
    )
    image = "".join(marks[place] for place in (0, 2, 1))
    chat = (
        "{% for part in messages[0].content %}"
        f"{{{{ '{image}' if part.type == 'image' else part.text }}}}{{% endfor %}}\n"
    )
    patches = {"patch_size": 16, "merge_size": 2}
    transformers.Qwen3VLProcessor(
        transformers.Qwen2VLImageProcessor(min_pixels=32**2, max_pixels=128**2, **patches),
        tokenizer,
        transformers.Qwen3VLVideoProcessor(**patches),
        chat_template=chat,
    ).save_pretrained(folder)
    config = transformers.Qwen3VLConfig(
        text_config={
            "vocab_size": len(vocabulary),
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
            "pad_token_id": vocabulary["<pad>"],
            "eos_token_id": vocabulary["<|im_end|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        vision_start_token_id=vocabulary[marks[0]],
        vision_end_token_id=vocabulary[marks[1]],
        image_token_id=vocabulary[marks[2]],
        video_token_id=vocabulary[marks[3]],
    )
    torch.manual_seed(0)
    transformers.Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


def _letters(*marks: str):
    """What makes tokens of single letters and of marks, and its vocabulary."""
    import tokenizers

    letters = [chr(code) for code in range(32, 127)]
    tokens = ["<pad>", "<unk>", "\n", *marks, *letters]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    core.decoder = tokenizers.decoders.Fuse()
    return core, vocabulary
