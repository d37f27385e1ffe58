import json
import pickle

import numpy as np
import pytest
import tokenizers

from scenarioclip_jax.data.tokens import BOS, EOS, Tokenizer, train_tokenizer

TEXTS = ["a red circle left of a blue square", "paint the wall", "a green triangle"] * 3


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train_tokenizer(TEXTS, tmp_path_factory.mktemp("tokenizer"), vocab_size=400)


def test_rows_are_bos_tokens_eos_padding(tokenizer):
    ids, truncated = tokenizer.encode(["a red circle", ""], 12)
    assert ids.dtype == np.int32
    assert ids.shape == (2, 12)
    assert truncated == 0
    assert (ids[:, 0] == tokenizer.bos_id).all()
    end = [list(row).index(tokenizer.eos_id) for row in ids]
    assert end[1] == 1
    assert all((row[e:] == tokenizer.pad_id).all() for row, e in zip(ids, end, strict=True))
    assert tokenizer.pad_id == tokenizer.eos_id


def test_truncation_keeps_eos_last_and_is_counted(tokenizer):
    texts = ["a red circle left of a blue square", "wall"]
    ids, truncated = tokenizer.encode(texts, 5)
    assert truncated == 1
    assert ids[0, -1] == tokenizer.eos_id
    assert tokenizer.eos_id not in ids[0, :-1]
    long, none = tokenizer.encode(texts, 40)
    assert none == 0
    np.testing.assert_array_equal(ids[0, :4], long[0, :4])
    with pytest.raises(ValueError, match="no room"):
        tokenizer.encode(texts, 2)
    assert tokenizer.encode([], 5)[0].shape == (0, 5)


def test_case_spaces_and_unknown_letters(tokenizer):
    ids, _ = tokenizer.encode(["Paint  the WALL", "paint the wall", "漢字 ☂"], 30)
    np.testing.assert_array_equal(ids[0], ids[1])
    assert len(set(ids[2])) > 4  # byte by byte


def test_decode_gives_the_text_back(tokenizer, clip_folder):
    ids, _ = tokenizer.encode(["A  red Circle, 漢"], 30)
    assert tokenizer.decode(ids[0]) == "a red circle, 漢"
    ids, _ = Tokenizer.load(clip_folder[0]).encode(["AAB a"], 8)
    assert Tokenizer.load(clip_folder[0]).decode(ids[0]) == "aab a"


def test_special_tokens_in_a_text_are_text(tokenizer):
    """Pooling at the first end-of-text must not be moved by what a caption says."""
    for each in (tokenizer, pickle.loads(pickle.dumps(tokenizer))):
        ids, _ = each.encode([f"a {EOS} wall {BOS}"], 60)
        end = list(ids[0]).index(tokenizer.eos_id)
        assert end > 10
        assert tokenizer.bos_id not in ids[0, 1:]


def test_save_load_and_pickle_give_the_same_ids(tokenizer, tmp_path):
    expected = tokenizer.encode(TEXTS[:3], 20)[0]
    tokenizer.save(tmp_path)
    for each in (
        Tokenizer.load(tmp_path),
        Tokenizer.load(tmp_path / "tokenizer.json"),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        np.testing.assert_array_equal(each.encode(TEXTS[:3], 20)[0], expected)
        assert (each.bos_id, each.eos_id, each.vocab_size) == (
            tokenizer.bos_id,
            tokenizer.eos_id,
            tokenizer.vocab_size,
        )


def test_training_is_deterministic(tokenizer, tmp_path):
    train_tokenizer(TEXTS, tmp_path / "a.json", vocab_size=400)
    train_tokenizer(TEXTS, tmp_path / "b.json", vocab_size=400)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.fixture
def clip_folder(tmp_path):
    """CLIP's two files, with a tiny vocabulary."""
    vocab = ["a", "b", "'", "s", "1", "2", "a</w>", "b</w>", "'</w>", "s</w>", "1</w>", "2</w>"]
    vocab += ["ab</w>", "aab</w>", "'s</w>", BOS, EOS]
    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocab)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b</w>\na ab</w>\n' s</w>\n")
    return tmp_path, vocab


def test_clip_folder_of_vocab_and_merges(clip_folder):
    folder, vocab = clip_folder
    tokenizer = Tokenizer.load(folder)
    ids, _ = tokenizer.encode(["AAB's 12"], 8)
    expected = [BOS, "aab</w>", "'s</w>", "1</w>", "2</w>", EOS, EOS, EOS]
    assert [vocab[i] for i in ids[0]] == expected
    assert tokenizer.vocab_size == len(vocab)


def test_clip_folder_agrees_with_transformers(clip_folder):
    transformers = pytest.importorskip("transformers")
    folder, _ = clip_folder
    vocab, merges = str(folder / "vocab.json"), str(folder / "merges.txt")
    try:
        theirs = transformers.CLIPTokenizer(vocab, merges)
    except Exception:
        theirs = transformers.CLIPTokenizer(
            vocab=json.loads((folder / "vocab.json").read_text()),
            merges=[tuple(line.split()) for line in open(merges).read().splitlines()[1:]],
        )
    texts = ["AAB's 12", "a  b\tab", "ab'sa", "12ab"]
    ours, _ = Tokenizer.load(folder).encode(texts, 12)
    for text, row in zip(texts, ours, strict=True):
        ids = theirs(text)["input_ids"]
        np.testing.assert_array_equal(row[: len(ids)], ids)


def test_other_special_tokens(tmp_path):
    vocab = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "wall": 3, "[UNK]": 4, "<end>": 5}
    model = tokenizers.models.WordLevel(vocab, unk_token="[UNK]")
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    np.testing.assert_array_equal(
        Tokenizer.load(tmp_path).encode(["wall"], 5)[0], [[1, 3, 2, 0, 0]]
    )
    named = Tokenizer.load(tmp_path, eos="<end>").encode(["wall"], 5)[0]
    np.testing.assert_array_equal(named, [[1, 3, 5, 0, 0]])
    with pytest.raises(ValueError, match="no token '<stop>'"):
        Tokenizer.load(tmp_path, eos="<stop>")


def test_errors_name_file_and_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.json: no such tokenizer"):
        Tokenizer.load(tmp_path / "missing.json")
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json here"):
        Tokenizer.load(tmp_path)
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    with pytest.raises(ValueError, match=r"bad\.json: not a tokenizer"):
        Tokenizer.load(bad)
    no_eos = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    no_eos.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="no end-of-text token"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "white-haired man",
        "the dog's ball, which isn't there.",
        "and/or (both) at 50%: yes!",
        "three dogs of 2019",
    ],
)
def test_punctuation_is_decoded_as_it_is_written(text, tokenizer):
    assert tokenizer.decode(tokenizer.encode([text], 90)[0][0]) == text


def test_punctuation_of_clip_is_decoded_as_it_is_written(clip_folder):
    clip = Tokenizer.load(clip_folder[0])
    assert clip.decode(clip.encode(["aab's 12"], 8)[0][0]) == "aab's 12"


def test_padding_of_another_library_is_as_if_there_were_none(tmp_path):
    """`enable_padding` names a token of BERT's unless it is told another."""
    plain = train_tokenizer(TEXTS, tmp_path / "plain.json", vocab_size=300)
    raw = tokenizers.Tokenizer.from_file(str(tmp_path / "plain.json"))
    raw.enable_padding(length=20)
    raw.save(str(tmp_path / "padded.json"))
    padded = Tokenizer.load(tmp_path / "padded.json")
    assert (padded.bos_id, padded.eos_id, padded.pad_id) == (
        plain.bos_id,
        plain.eos_id,
        plain.pad_id,
    )
    np.testing.assert_array_equal(*(each.encode(["two"], 8)[0] for each in (plain, padded)))
