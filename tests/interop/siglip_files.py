"""Small SigLIP models from random numbers, and what Transformers' tokenizer makes of some texts.

python -m tests.interop.siglip_files    # needs sentencepiece; writes tests/golden/siglip
"""

import json
import shutil
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

GOLDEN = Path(__file__).parents[1] / "golden/siglip"
TEXTS = [
    "a red circle left of a blue square",
    "Two  People, talk!",
    "it's the dogs' 12 bones -- (really)",
    "naïve café\t\nwith a_b",
    "日本語 text",
    "",
]
VISION = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
VISION |= dict(image_size=32, patch_size=8, num_channels=3)
TEXT = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40)
TEXT |= dict(max_position_embeddings=12)
IMAGES = {
    "image_processor_type": "SiglipImageProcessor",
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": 32, "width": 32},
}


def write(
    folder: Path, *, second: bool = False, vocabulary: int = 120, image_size: int = 32
) -> Path:
    """Writes a model as Transformers does; `second` gives it SigLIP 2's kind of tokenizer."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.SiglipConfig(
        vision_config=VISION | {"image_size": image_size},
        text_config=TEXT | {"vocab_size": vocabulary},
    )
    model = transformers.SiglipModel(config)
    for name, value in model.named_parameters():
        if name.endswith("bias") or "position" in name or "norm" in name:
            torch.nn.init.normal_(value, 1.0 if "norm" in name else 0.0, 0.2)
    torch.nn.init.constant_(model.logit_scale, 4.7)
    torch.nn.init.constant_(model.logit_bias, -16.5)
    model.save_pretrained(folder)
    size = {"height": image_size, "width": image_size}
    (folder / "preprocessor_config.json").write_text(json.dumps(IMAGES | {"size": size}))
    if second:
        _gemma(folder)
    else:
        shutil.copy(GOLDEN / "spiece.model", folder)
        settings = {"tokenizer_class": "SiglipTokenizer", "pad_token": "</s>", "eos_token": "</s>"}
        settings |= {"do_lower_case": True, "model_max_length": 12}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def _gemma(folder: Path) -> None:
    """A tokenizer of letters in the way of Gemma's file: spaces are marked, nothing is lower case."""
    letters = "▁abcdefghijklmnopqrstuvwxyzABC,.!'"
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *letters, "<s>", "</s>"]
    found = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [], unk_token="<unk>"))
    found.normalizer = normalizers.Replace(" ", "▁")
    found.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    found.add_special_tokens(tokens[:4])
    found.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "GemmaTokenizer", "pad_token": "<pad>", "eos_token": "<eos>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def main() -> None:
    """Trains a small SentencePiece model, and tokenizes by Transformers."""
    import sentencepiece
    import transformers

    GOLDEN.mkdir(exist_ok=True)
    words = (
        "a red circle left of a blue square two people talk it is the dogs bones really with text"
    )
    sentences = [" ".join(np.random.default_rng(i).permutation(words.split())) for i in range(200)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(GOLDEN / "spiece"),
        vocab_size=80,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        normalization_rule_name="identity",
    )
    (GOLDEN / "spiece.vocab").unlink()
    tokenizer = transformers.SiglipTokenizer(str(GOLDEN / "spiece.model"), model_max_length=12)
    ids = tokenizer(TEXTS, padding="max_length", truncation=True)["input_ids"]
    figures = {"transformers": transformers.__version__, "ids": ids}
    (GOLDEN / "ids.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
