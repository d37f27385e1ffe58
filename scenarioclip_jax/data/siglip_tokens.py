"""SigLIP's tokenizers, of which the `tokenizers` library's own file says only a part.

SigLIP lowers the case of a text and removes punctuation before it is cut into SentencePiece's tokens;
SigLIP 2, with Gemma's tokens, only lowers the case. Both mark the end of a text and not its beginning, and see
its padding, so the id of that counts.
"""

import json
import string
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

SPACE = "▁"  # SentencePiece's mark of a word's beginning
FIRST, SECOND = "SigLIP", "SigLIP 2"


def kind_of(folder: Path) -> str | None:
    """FIRST or SECOND if a folder holds a tokenizer of SigLIP or SigLIP 2, else None."""
    name = str(_values(folder / "tokenizer_config.json").get("tokenizer_class", ""))
    known = {"SiglipTokenizer": FIRST, "Siglip2Tokenizer": SECOND}
    if kind := known.get(name.removesuffix("Fast")):
        return kind
    if _values(folder / "config.json").get("model_type") != "siglip":
        return None
    # Saved under another library's name; Gemma's tokens are byte pairs, those of the first are not.
    pairs = _values(folder / "tokenizer.json").get("model", {}).get("type") == "BPE"
    return SECOND if pairs or "Gemma" in name else FIRST


def load(folder: Path, kind: str) -> tokenizers.Tokenizer:
    """Loads a tokenizer of SigLIP with all that belongs to it, so that its own file is enough from then on.

    Args:
      kind: As `kind_of` returns it.

    Raises:
      FileNotFoundError: There is neither tokenizer.json nor spiece.model.
      ValueError: A token that the settings name isn't in the vocabulary.
      Exception: A file is damaged; the libraries raise what they like.
    """
    settings = _values(folder / "tokenizer_config.json")
    if (folder / "tokenizer.json").is_file():
        found = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    elif (folder / "spiece.model").is_file():
        found = _sentence_pieces(folder / "spiece.model")
    else:
        raise FileNotFoundError(
            f"{folder}: no tokenizer.json here, nor spiece.model; copy one of them from the model's repository"
        )
    before: list[normalizers.Normalizer] = []
    if kind == SECOND or settings.get("do_lower_case", True):
        before.append(normalizers.Lowercase())
    if kind == FIRST:
        before += [
            normalizers.Replace(Regex(f"[{_escaped(string.punctuation)}]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    inner = [found.normalizer] if found.normalizer else []
    found.normalizer = normalizers.Sequence([*before, *inner])
    usual = {FIRST: ("</s>", "</s>"), SECOND: ("<eos>", "<pad>")}[kind]
    end, pad = (
        _token(found, settings, role, name, folder)
        for role, name in zip(("eos_token", "pad_token"), usual, strict=True)
    )
    ending = found.token_to_id(end)
    found.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, ending)]
    )
    found.enable_padding(pad_id=found.token_to_id(pad), pad_token=pad)
    return found


def _token(
    found: tokenizers.Tokenizer, settings: dict[str, Any], role: str, usual: str, folder: Path
) -> str:
    token = settings.get(role) or usual
    name = str(token.get("content") if isinstance(token, dict) else token)
    if found.token_to_id(name) is None:
        raise ValueError(
            f"{folder / 'tokenizer_config.json'}: {role} is {name!r}, which the vocabulary doesn't have"
        )
    return name


def _escaped(letters: str) -> str:
    return "".join(f"\\{letter}" for letter in letters)


def _values(path: Path) -> dict[str, Any]:
    """A JSON object, or nothing where there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _sentence_pieces(path: Path) -> tokenizers.Tokenizer:
    """A unigram model in SentencePiece's own file."""
    from transformers.convert_slow_tokenizer import import_protobuf

    messages: Any = import_protobuf()
    model = messages.ModelProto()
    model.ParseFromString(path.read_bytes())
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    spec = model.trainer_spec
    found = tokenizers.Tokenizer(
        models.Unigram(pieces, unk_id=spec.unk_id, byte_fallback=spec.byte_fallback)
    )
    steps: list[normalizers.Normalizer] = []
    if model.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap))
    steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    found.normalizer = normalizers.Sequence(steps)
    found.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    found.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    special = [piece.piece for piece in model.pieces if piece.type in (2, 3)]  # unknown, control
    found.add_special_tokens(special)
    return found
