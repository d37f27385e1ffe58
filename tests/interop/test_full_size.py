"""Full-size towers with random weights: CLIP in, PyTorch out, and both compute the same."""

import gc

import numpy as np
import pytest

from scenarioclip_jax import convert, load
from tests.interop import helpers

torch = pytest.importorskip("torch")

SIZES = {
    "ViT-B/32": (
        dict(width=768, depth=12, heads=12, mlp_dim=3072, image_size=224, patch_size=32),
        dict(width=512, depth=12, heads=8, mlp_dim=2048, vocab_size=49408, max_length=77),
        512,
    ),
    "ViT-L/14": (
        dict(width=1024, depth=24, heads=16, mlp_dim=4096, image_size=224, patch_size=14),
        dict(width=768, depth=12, heads=12, mlp_dim=3072, vocab_size=49408, max_length=77),
        768,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_embeddings_agree(name, tmp_path):
    # One level: the others are the same code, and three of ViT-L/14 would need 5 GB each time.
    from transformers import AutoModel, CLIPModel

    vision, text, projection = SIZES[name]
    config = helpers.clip_config(vision, text, projection)
    arrays = helpers.clip_arrays(vision, text, projection)
    clip = helpers.write_clip(tmp_path / "clip", arrays, config)
    del arrays
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    convert.main(
        ["from-huggingface", f"--model={clip}", f"--output={ours}", "--arch=clip", "--head=clip"]
    )
    convert.main(["to-pytorch", f"--checkpoint={ours}", f"--output={theirs}"])
    rng = np.random.default_rng(0)
    pixels = rng.standard_normal((2, 3, 224, 224), np.float32)
    model = load(ours, batch_size=2)
    ids = np.full((2, 77), model.tokenizer.eos_id)
    ids[0, :76], ids[1, :5] = rng.integers(300, 49408, 76), rng.integers(300, 49408, 5)
    image, text = model.encode_pixels(pixels), model.encode_ids(ids)
    cosines = model.similarity(image, text)
    del model
    gc.collect()

    inputs = {"pixel_values": torch.from_numpy(pixels), "input_ids": torch.from_numpy(ids)}
    model = AutoModel.from_pretrained(theirs, trust_remote_code=True).eval()
    with torch.no_grad():
        out = model(**inputs)
    np.testing.assert_allclose(out.image_embeds.numpy(), image, atol=1e-5)
    np.testing.assert_allclose(out.text_embeds.numpy(), text, atol=1e-5)
    del model
    gc.collect()
    if name == "ViT-L/14":  # enough memory and time were spent
        return
    # And with CLIP's own head they are what Transformers' CLIP says.
    model = CLIPModel.from_pretrained(clip).eval()
    with torch.no_grad():
        logits = model(**inputs).logits_per_image
    np.testing.assert_allclose(logits.numpy() / np.exp(3.5), cosines, atol=1e-5)
