"""`Tokenizer`: texts in, fixed-length token ids out, on the `tokenizers` library."""

import copy
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from scenarioclip_jax import faults
from scenarioclip_jax.data import siglip_tokens

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
# Names under which tokenizers in use keep their special tokens, in order of preference.
BOS_NAMES = (BOS, "[CLS]", "<s>", "<bos>")
EOS_NAMES = (EOS, "[SEP]", "</s>", "<eos>")
PAD_NAMES = ("<|pad|>", "[PAD]", "<pad>")

# CLIP's pieces before byte-pair encoding (Radford et al. 2021): contractions, runs of letters, single digits,
# and runs of any other characters that aren't spaces.
CLIP_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


# Texts that tokenizers treat differently.
PROBES = (
    *("a red circle left of a blue square", "A PERSON rides  a Horse!", "it's the dogs' 12 bones"),
    *("naïve café", "e\u0301le\u0300ve", "日本語", "😀", "tab\tnew\nline", "ﬁ ²", "a_b-c.d", ""),
)
# Spaces that splitting a text into words and punctuation leaves behind.
_PUNCTUATION = (
    (re.compile(r"(?<=\w) +([-/]) +(?=\w)"), r"\1"),
    (re.compile(r"(?<=\w) +(['\u2019](?:s|t|re|ve|m|ll|d)\b)"), r"\1"),
    (re.compile(r" +([,.;:!?%)\]}])"), r"\1"),
    (re.compile(r"([(\[{]) +"), r"\1"),
    (re.compile(r"(?<=\d) +(?=\d)"), ""),  # digits are words of their own
)


class Tokenizer:
    """A tokenizer with the special tokens that a text tower needs. It can be pickled.

    Attributes:
      bos_id: Begin-of-text id; None if there is no such token, or texts don't begin with it.
      eos_id: End-of-text id; a text tower pools at its first position.
      pad_id: Id that fills the rest of a row; the eos id if the tokenizer has no pad token, as in CLIP.
      vocab_size: Number of ids, including special tokens.
    """

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        bos: str | None = None,
        eos: str | None = None,
        pad: str | None = None,
    ):
        """Takes the special tokens by name: those given, else those that the file says, else the first known.

        Raises:
          ValueError: A named token isn't in the vocabulary, or there is no end-of-text token.
        """
        self._tokenizer = tokenizer
        # A text that happens to contain "<|endoftext|>" must not end there, because it is ordinary text.
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        self._padding = tokenizer.padding  # written to files again; here rows are padded by `pad`
        tokenizer.no_padding()
        if self._padding and tokenizer.token_to_id(self._padding["pad_token"]) is None:
            self._padding = None  # another library's, which no tower has seen
        begins = True
        if self._padding:
            # Only such files are asked: others were read before as if they said nothing of it.
            pad = pad or self._padding["pad_token"]
            if frame := _frame(tokenizer):
                bos, eos = bos or frame[0], eos or frame[1]
                begins = bos is not None
        self.bos_id = self._special("bos", bos, BOS_NAMES) if begins else None
        eos_id = self._special("eos", eos, EOS_NAMES)
        if eos_id is None:
            raise ValueError(
                f"the tokenizer has no end-of-text token: looked for {', '.join(EOS_NAMES)}; "
                "name it with Tokenizer.load(..., eos='...')"
            )
        self.eos_id: int = eos_id
        pad_id = self._special("pad", pad, PAD_NAMES)
        self.pad_id: int = eos_id if pad_id is None else pad_id
        self.vocab_size: int = tokenizer.get_vocab_size(with_added_tokens=True)

    def _special(self, role: str, name: str | None, known: Sequence[str]) -> int | None:
        if name is not None and self._tokenizer.token_to_id(name) is None:
            raise ValueError(f"the tokenizer has no token {name!r}, given as its {role} token")
        ids = (self._tokenizer.token_to_id(each) for each in ([name] if name else known))
        return next((each for each in ids if each is not None), None)

    @classmethod
    def load(
        cls,
        source: str | Path,
        bos: str | None = None,
        eos: str | None = None,
        pad: str | None = None,
    ) -> "Tokenizer":
        """Loads a tokenizer.

        Args:
          source: A tokenizer.json file; a folder with one, with CLIP's vocab.json and merges.txt, or with
            SigLIP's spiece.model; or the id of a Hugging Face hub repository.
          bos, eos, pad: Names of the special tokens, if they aren't among the known ones.

        Raises:
          FileNotFoundError: `source` isn't a file, such a folder, or a repository that can be reached.
          ValueError: The file isn't a tokenizer, or special tokens are missing.
        """
        return cls(_load(source), bos, eos, pad)

    def encode(self, texts: Sequence[str], length: int) -> tuple[np.ndarray, int]:
        """Tokenizes texts.

        Args:
          texts: The n texts.
          length: Tokens L in a row, including bos and eos.

        Returns:
          The ids, int32 [n, L]: bos, the text's tokens, eos, then padding; eos stays last when a text is cut.
          And the number of texts that were cut.
        """
        rows, whole = self.encode_ragged(texts, length)
        return self.pad(rows, length), sum(each > length for each in whole)

    def pad(self, rows: Sequence[Sequence[int]], length: int) -> np.ndarray:
        """Pads n rows of ids to int32 [n, L]."""
        ids = np.full((len(rows), length), self.pad_id, np.int32)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = tokens
        return ids

    def encode_ragged(self, texts: Sequence[str], length: int) -> tuple[list[list[int]], list[int]]:
        """Tokenizes texts without padding: bos, the text's tokens, eos, at most `length` in total.

        Returns:
          The ids of each text, and how many each would have if it weren't cut.
        """
        start = [] if self.bos_id is None else [self.bos_id]
        room = length - len(start) - 1
        if room < 1:
            raise ValueError(f"length={length} leaves no room for text between bos and eos")
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        rows = [[*start, *each.ids[:room], self.eos_id] for each in encodings]
        return rows, [len(start) + len(each.ids) + 1 for each in encodings]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Decodes one row of ids, up to the end of text and without special tokens.

        Tokens don't tell "white-haired 12" from "white - haired 1 2"; it becomes what people usually write.
        """
        ids = [int(each) for each in ids]
        ids = ids[: ids.index(self.eos_id)] if self.eos_id in ids else ids
        text = self._tokenizer.decode([each for each in ids if each != self.bos_id])
        text = text.replace("</w>", " ").strip()  # CLIP's end-of-word mark
        for pattern, replacement in _PUNCTUATION:
            text = pattern.sub(replacement, text)
        return text

    def difference(self, other: "Tokenizer") -> str | None:
        """Finds a text that the two tokenizers turn into different ids; None if there is none.

        It tries texts of many kinds and every token of the vocabulary, spelled out.
        """
        vocabularies = [each._tokenizer.get_vocab() for each in (self, other)]
        special = re.compile(r"<.*>|\[.*\]")  # as text, nobody writes these
        tokens = [token for token in sorted(vocabularies[0]) if not special.fullmatch(token)]
        texts = [*PROBES, *(token.replace("</w>", " ").replace("Ġ", " ") for token in tokens)]
        longest = 1 << 20
        both = zip(
            texts,
            self.encode_ragged(texts, longest)[0],
            other.encode_ragged(texts, longest)[0],
            strict=True,
        )
        different = next((text for text, ours, theirs in both if ours != theirs), None)
        if different is None and vocabularies[0] != vocabularies[1]:
            odd = dict(vocabularies[0].items() ^ vocabularies[1].items())
            return min(odd)
        return different

    @property
    def normalizer(self) -> normalizers.Normalizer | None:
        """What changes texts before they are cut into tokens."""
        return self._tokenizer.normalizer

    def with_normalizer(self, normalizer: normalizers.Normalizer) -> "Tokenizer":
        """Returns the same tokenizer with another normalizer."""
        changed = copy.copy(self)  # with a tokenizer of its own, see `__getstate__`
        changed._tokenizer.normalizer = normalizer
        return changed

    def to_json(self) -> str:
        """The contents of the tokenizer.json file."""
        return self._whole().to_str(pretty=True)

    def save(self, path: str | Path) -> None:
        """Writes tokenizer.json to `path` (a file name, or a folder that exists)."""
        path = Path(path)
        self._whole().save(str(path / "tokenizer.json" if path.is_dir() else path))

    def _whole(self) -> tokenizers.Tokenizer:
        """The library's tokenizer with the padding that its file had."""
        if not self._padding:
            return self._tokenizer
        whole = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
        whole.enable_padding(**self._padding)
        return whole

    def __getstate__(self) -> dict:
        # The library loses `encode_special_tokens` in a pickle, so the object is rebuilt.
        return {**self.__dict__, "_tokenizer": self._tokenizer.to_str()}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._tokenizer = tokenizers.Tokenizer.from_str(state["_tokenizer"])
        self._tokenizer.encode_special_tokens = True


def train_tokenizer(texts: Iterable[str], path: str | Path, vocab_size: int = 1024) -> Tokenizer:
    """Trains a small lower-casing byte-level BPE tokenizer on `texts` and writes it to `path`.

    The same texts in the same order give the same file. Any other text can be encoded too, byte by byte.
    """
    tokenizer = tokenizers.Tokenizer(models.BPE())
    # Words are marked by a space in front. CLIP's mark at the end would make the ids depend on the trainer's
    # hash order, which changes from run to run.
    _clip_rules(tokenizer, space_before=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    trained = Tokenizer(tokenizer)
    trained.save(path)
    return trained


def _load(source: str | Path) -> tokenizers.Tokenizer:
    path = Path(source)
    if path.is_dir():
        if kind := siglip_tokens.kind_of(path):
            return _siglip(path, kind)
        if (path / "tokenizer.json").is_file():
            path = path / "tokenizer.json"
        elif (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
            return _clip_bpe(path / "vocab.json", path / "merges.txt")
        else:
            raise FileNotFoundError(
                f"{path}: no tokenizer.json here, nor vocab.json with merges.txt; "
                "give a folder that a Hugging Face tokenizer was saved to"
            )
    if path.is_file():
        try:
            return tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            faults.refuse(error, path)
            raise ValueError(f"{path}: not a tokenizer.json ({error})") from error
    if path.suffix == ".json" or path.is_absolute() or str(source).startswith("."):
        raise FileNotFoundError(f"{path}: no such tokenizer file or folder")
    try:
        return _from_hub(str(source))
    except Exception as error:
        raise FileNotFoundError(
            f"{source}: no such file or folder, and no tokenizer of that name on the Hugging Face hub "
            f"({error}); give the path of a tokenizer.json or a hub id like openai/clip-vit-base-patch32"
        ) from error


def _from_hub(repository: str) -> tokenizers.Tokenizer:
    import huggingface_hub

    settings = ["tokenizer_config.json", "config.json"]
    folder = huggingface_hub.snapshot_download(repository, allow_patterns=settings)
    if siglip_tokens.kind_of(Path(folder)) is None:
        return tokenizers.Tokenizer.from_pretrained(repository)
    names = ["tokenizer.json", "spiece.model"]
    return _load(huggingface_hub.snapshot_download(repository, allow_patterns=[*settings, *names]))


def _siglip(folder: Path, kind: str) -> tokenizers.Tokenizer:
    try:
        return siglip_tokens.load(folder, kind)
    except FileNotFoundError:
        raise
    except Exception as error:  # the libraries raise bare Exception
        faults.refuse(error, folder)
        raise ValueError(f"{folder}: its tokenizer of {kind} can't be read ({error})") from error


def _frame(tokenizer: tokenizers.Tokenizer) -> tuple[str | None, str | None] | None:
    """The tokens that the file puts in front of a text and behind it; None if it doesn't say."""
    template = json.loads(tokenizer.to_str()).get("post_processor") or {}
    if template.get("type") != "TemplateProcessing":
        return None
    parts = [next(iter(part.items())) for part in template["single"]]
    names = [None if kind == "Sequence" else values["id"] for kind, values in parts]
    if None not in names:
        return None
    text = names.index(None)
    return (names[text - 1] if text else None), (names[-1] if text + 1 < len(names) else None)


def _clip_bpe(vocab: Path, merges: Path) -> tokenizers.Tokenizer:
    """CLIP's tokenizer, from the two files of its first release."""
    try:
        ids = json.loads(vocab.read_text(encoding="utf-8"))
        model = models.BPE.from_file(
            str(vocab), str(merges), unk_token=EOS, end_of_word_suffix="</w>"
        )
    except Exception as error:
        faults.refuse(error, vocab)
        raise ValueError(f"{vocab}, {merges}: not a byte-pair vocabulary ({error})") from error
    tokenizer = tokenizers.Tokenizer(model)
    _clip_rules(tokenizer)
    tokenizer.add_special_tokens([token for token in (BOS, EOS) if token in ids])
    return tokenizer


def _clip_rules(tokenizer: tokenizers.Tokenizer, space_before: bool = False) -> None:
    """Sets CLIP's text clean-up: NFC, single spaces, lower case, pieces, bytes."""
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=space_before, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
