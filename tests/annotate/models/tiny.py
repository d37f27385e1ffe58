"""Tiny models of random weights, of the very classes that annotate, saved as they are published."""

import json
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
