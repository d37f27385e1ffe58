"""The exported folder as PyTorch users treat models: traced, exported, pickled, fine-tuned, and misspelled."""

import copy
import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax import checkpoint, convert, load
from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.interop import initial
from scenarioclip_jax.interop.plain_clip import open_plain_clip
from tests.interop import helpers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pytorch")
    clip = open_plain_clip(str(helpers.write_clip(root / "clip")))
    model = initial.arguments_from_clip(clip, arch="scenario_clip_0")
    params = initial.from_clip(clip, model)
    rng = np.random.default_rng(0)
    params = {p: v + np.float32(0.05) * rng.standard_normal(v.shape) for p, v in params.items()}
    (root / "ours").mkdir()
    helpers.tokenizer().save(root / "ours")
    spec = ModelSpec(model, {"global": 12, "object": 6, "relation": 9})
    checkpoint.save_model(root / "ours", spec, params, step=1)
    convert.main(["to-pytorch", f"--checkpoint={root / 'ours'}", f"--output={root / 'out'}"])
    return root / "out"


def opened(folder, **kwargs):
    model = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True, **kwargs)
    return model.eval()


@pytest.fixture(scope="module")
def model(folder):
    return opened(folder)


@pytest.fixture(scope="module")
def processor(folder):
    return transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=True)


@pytest.fixture(scope="module")
def inputs(processor):
    both = processor(images=helpers.pictures(3), text=helpers.TEXTS[:3], level="object")
    return both["pixel_values"], both["input_ids"]


class Tower(torch.nn.Module):
    def __init__(self, model, kind):
        super().__init__()
        self.model, self.kind = model, kind

    def forward(self, x):
        return getattr(self.model, f"encode_{self.kind}")(x, "object")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "text"])
# Tracing is deprecated, but used.
@pytest.mark.filterwarnings("ignore")
def test_recorded_towers_take_any_batch(model, inputs, kind):
    tower, x = Tower(model, kind), inputs[kind == "text"]
    with torch.no_grad():
        wanted = tower(x)
        traced = torch.jit.trace(tower, x[:1])
        dynamic = ({0: torch.export.Dim("batch", min=1, max=64)},)
        exported = torch.export.export(tower, (x,), dynamic_shapes=dynamic).module()
        for recorded in (traced, exported):
            for count in (1, 2, 3):
                found = recorded(x[:count])
                np.testing.assert_allclose(found, wanted[:count], atol=1e-5)


def test_wrong_keywords_are_refused(model, processor, inputs):
    pixels, ids = inputs
    with pytest.raises(TypeError, match="no argument 'levels'; did you mean 'level'"):
        model(pixels, ids, levels="object")
    with pytest.raises(TypeError, match="no argument 'pixel_valuez'; did you mean 'pixel_values'"):
        model(pixel_valuez=pixels)
    with pytest.raises(TypeError, match="no argument 'levels'; did you mean 'level'"):
        processor(text="ok", levels="object")
    with pytest.raises(TypeError, match="no argument 'do_resize'; it takes images"):
        processor.image_processor(helpers.pictures(1), do_resize=False)
    for call in (model, processor):
        with pytest.raises(ValueError, match="nothing to"):
            call()
    with pytest.raises(ValueError, match=r"no end-of-text id \d+ in rows \[1\]"):
        model.encode_text(torch.cat([ids[:1], torch.full_like(ids[:1], 5)]))
    with pytest.raises(ValueError, match="L at most 20"):
        model.encode_text(torch.full((1, 21), model.config.text["eos_id"]))
    left = torch.tensor([[0, 1, 1, 1, 1, 1]])
    with pytest.raises(ValueError, match="padded on the right"):
        model(input_ids=ids[:1], attention_mask=left)
    with pytest.raises(ValueError, match="texts are always cut"):
        processor(text="ok", truncation=False)


def test_inputs_that_were_not_prepared_are_refused(model, processor, inputs):
    """Each would give embeddings of something else, or an error from deep inside."""
    pixels, ids = inputs
    for wrong, what in (
        (torch.zeros(pixels.shape, dtype=torch.uint8), r"torch\.uint8"),
        (torch.zeros(pixels.shape, dtype=torch.int64), r"torch\.int64"),
        (pixels.numpy(), "a ndarray"),
    ):
        for call in (model.encode_image, model.get_image_features, model):
            with pytest.raises(
                TypeError, match=rf"pixel_values is {what}; normalized floats.*processor\(images="
            ):
                call(wrong)
    for wrong in (pixels * 60 + 128, torch.where(pixels > 1, torch.nan, pixels)):
        with pytest.raises(ValueError, match=r"pixel_values .*normalized.*processor\(images="):
            model.encode_image(wrong)
    for wrong, what in ((ids.float(), r"torch\.float32"), (ids.tolist(), "a list")):
        with pytest.raises(TypeError, match=rf"input_ids is {what}; token ids.*processor\(text="):
            model.encode_text(wrong)
    for wrong in (-1, 320):
        with pytest.raises(ValueError, match="input_ids must be from 0 to 319"):
            model.encode_text(torch.cat([ids, torch.full_like(ids[:1], wrong)]))
    for text, what in ((5, r"5 \(int\)"), ([["a"]], "list"), ({"a": 1}, "dict"), (None, "nothing")):
        with pytest.raises(
            ValueError, match=rf"text: expected a string.*{what}|nothing to prepare"
        ):
            processor(text=text)
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        processor(text="a \ud83d")
    with pytest.raises(ValueError, match="max_length is '5'; it must be a whole number from 3"):
        processor(text="ok", max_length="5")
    assert model.encode_image(pixels.double()).dtype == torch.float32


def test_usual_processor_keywords_are_honored(processor):
    texts = helpers.TEXTS
    whole = processor(text=texts, level="relation")["input_ids"]
    short = processor(text=texts, level="relation", padding=True, truncation=True)["input_ids"]
    assert whole.shape == (4, 9)
    np.testing.assert_array_equal(short, whole[:, : short.shape[1]])
    assert processor(text=texts, max_length=5)["input_ids"].shape == (4, 5)
    one = processor(text="ok", padding="longest")["input_ids"]
    assert one.shape[1] < 9
    words = processor.batch_decode(whole, skip_special_tokens=True)
    assert words[1] == "two people talk"


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_both_kinds_of_attention_and_checkpoints(folder, model, inputs):
    pixels, ids = inputs
    with torch.no_grad():
        wanted = model(pixels, ids, level="relation").logits_per_image
        for kind in ("eager", "sdpa"):
            other = opened(folder, attn_implementation=kind)
            assert other.config._attn_implementation == kind
            found = other(pixels, ids, level="relation").logits_per_image
            np.testing.assert_allclose(found, wanted, atol=1e-4)
    trained = copy.deepcopy(model).train()
    plain = trained(pixels, ids, return_loss=True).loss
    plain.backward()
    weight = trained.global_visual_encoder.vision_model.embeddings.patch_embedding.weight
    gradient = weight.grad.clone()
    trained.zero_grad()
    trained.gradient_checkpointing_enable()  # deprecated in 5, the only name in 4
    trained(pixels, ids, return_loss=True).loss.backward()
    torch.testing.assert_close(weight.grad, gradient, atol=1e-5, rtol=1e-4)


def test_loss_is_clips(model, inputs):
    pixels, ids = inputs
    with torch.no_grad():
        out = model(pixels, ids, level="object", return_loss=True)
        rows, columns = (x.log_softmax(-1).diagonal() for x in (out[1:][2], out[1:][3]))
    np.testing.assert_allclose(out.loss, -(rows.mean() + columns.mean()) / 2, rtol=1e-5)
    with pytest.raises(ValueError, match="as many pictures as texts"):
        model(pixels, ids[:2], return_loss=True)


def test_pickles_and_usual_names(model, inputs):
    pixels, ids = inputs
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    again = torch.load(stream, weights_only=False)
    also = pickle.loads(pickle.dumps(model))
    with torch.no_grad():
        wanted = model.encode_image(pixels, "object")
        for other in (again, also, model):
            np.testing.assert_array_equal(other.get_image_features(pixels, level="object"), wanted)
        text = model.get_text_features(ids, attention_mask=torch.ones_like(ids), level="object")
        np.testing.assert_array_equal(text, model.encode_text(ids, "object"))
        (alone,) = model(pixels, return_dict=False)
        np.testing.assert_array_equal(alone, model.encode_image(pixels))
    assert model.get_input_embeddings().weight.shape == (320, 24)
    assert model.config.projection_dim == helpers.PROJECTION
    assert model.config.levels == ["global", "object", "relation"]


def test_transformers_4_finds_the_processors_parts(processor):
    """It opens the folder by these; 5 needs none of them."""
    kind = type(processor)
    assert tuple(kind.attributes) == ("image_processor", "tokenizer")
    assert kind.tokenizer_class == "AutoTokenizer"
    old = transformers.__version__.startswith("4.")
    assert getattr(kind, "image_processor_class", None) == ("AutoImageProcessor" if old else None)


def test_zero_shot_pipeline(folder):
    classify = transformers.pipeline(
        "zero-shot-image-classification", model=str(folder), trust_remote_code=True
    )
    photo, labels = Image.fromarray(helpers.pictures(1)[0]), ["ok", "two people talk"]
    found = classify(photo, candidate_labels=labels, hypothesis_template="{}")
    ours = load(folder)
    cosines = ours.similarity(ours.encode_image(photo), ours.encode_text(labels))[0]
    wanted = torch.tensor(ours.logit_scale() * cosines).softmax(0)
    found = {each["label"]: each["score"] for each in found}
    np.testing.assert_allclose([found[label] for label in labels], wanted, atol=1e-4)


def test_clips_word_ends_are_not_decoded(tmp_path):
    """A vocabulary like CLIP's own marks the end of a word; decoded texts show a space."""
    folder = helpers.write_clip(tmp_path / "clip")
    values = json.loads((folder / "tokenizer.json").read_text())
    letters = list("abcdr ")
    vocab = {token: i for i, token in enumerate([*letters, *(f"{each}</w>" for each in letters)])}
    vocab |= {"<|startoftext|>": 318, "<|endoftext|>": 319}
    values["model"] |= {"vocab": vocab, "merges": [], "end_of_word_suffix": "</w>"}
    values["pre_tokenizer"]["pretokenizers"][-1]["add_prefix_space"] = False
    for token in values["added_tokens"]:
        token["id"] = vocab[token["content"]]
    (folder / "tokenizer.json").write_text(json.dumps(values))
    config = helpers.clip_config(eos_id=319)
    (folder / "config.json").write_text(json.dumps(config))
    ours, out = tmp_path / "ours", tmp_path / "out"
    convert.main(["from-huggingface", f"--model={folder}", f"--output={ours}", "--arch=clip"])
    convert.main(["to-pytorch", f"--checkpoint={ours}", f"--output={out}"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    ids = tokenizer(["a bad  crab"])["input_ids"]
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == ["a bad crab"]
    assert load(out).tokenizer.decode(ids[0]) == "a bad crab"
