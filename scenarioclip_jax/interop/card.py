"""The model card of an exported folder."""

from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.interop.card_facts import Facts, front_matter, sections
from scenarioclip_jax.models.scenario_clip import levels_of, pools

ARCHITECTURE = {
    "clip": "one vision and one text tower, trained on whole scenes only",
    "pyramid_clip": "one vision and one text tower for all three levels",
    "scenario_clip_0": "one vision and one text tower for each of three levels",
    "scenario_clip_1": "one vision and one text tower for each of three levels, trained with "
    "distillation from an exponential moving average",
    "scenario_clip_2": "one vision and one text tower for all three levels, trained with divergences between "
    "its own levels",
    "scenario_clip_shared": "one vision and one text tower, told which of three levels, with heads for each",
}
_POOLED = "; one vision tower sees the photo, and objects and relations are pooled from its patches"

# What a relation's picture shows, by `data.region_styles.STYLES`.
_REGIONS = {
    "stored": "as the training data had it, usually black outside the two participants",
    "boxes": "black outside the boxes of the two participants",
    "masks": "black outside the masks of the two participants",
    "blurred": "the photo, with everything but the two participants strongly blurred",
    "published": "the photo, with its two participants dimmed by the distance from their centers and "
    "everything else blurred a little",
}


_PARTS = """An object's picture is the photo, black outside the object's box; a relation's is {region}.
`processor(images=photo, boxes=[[x0, y0, x1, y1]], level="object")` makes them from boxes in the photo."""
_PARTS_POOLED = """Objects and relations are boxes in the whole photo, so they need no pictures of their own.
The order of a relation's two boxes means nothing: only its text says which is the subject."""
# How an example asks for an object.
_EXAMPLE_POOLED = """
# Objects and relations of the photo, by boxes x0, y0, x1, y1 in its pixels.
inputs = processor(images=photo, boxes=[[10, 20, 210, 400]], text=["a horse", "a dog"], level="object")
with torch.no_grad():
    print(model(**inputs, level="object").logits_per_image)
inputs = processor(
    images=photo,
    boxes=[[[10, 20, 210, 400], [200, 80, 480, 470]]],
    text=["person rides horse", "horse rides person"],
    level="relation",
)
with torch.no_grad():
    print(model(**inputs, level="relation").logits_per_image)
"""

# How an example asks for all that is in a photo.
_EXAMPLE_DESCRIBE = """
# The scene graph of a photo, from boxes and words.
scene = model.describe(
    photo,
    [[10, 20, 210, 400], [200, 80, 480, 470]],
    words={"actions": texts, "objects": ["person", "horse"], "predicates": ["rides", "leads"]},
    processor=processor,
)
print(scene)  # scene.draw("scene.png") draws it, with matplotlib; scene.to_json() keeps it
"""


def model_card(spec: ModelSpec, dtype: str, origin: str, facts: Facts) -> str:
    """Returns README.md in Markdown, with the metadata that model hubs read. Its example runs in the folder."""
    model, vision, text = spec.model, spec.model["vision"], spec.model["text"]
    fit = {
        "centre_crop": "the short side is resized to it (bicubic), then the center is cropped",
        "contain": "the long side is resized to it (bicubic); the rest stays black",
        "squash": "both sides are resized to it (bicubic), whatever the photo's shape",
    }[spec.fit]
    pooled = pools(model)
    parts = _PARTS_POOLED if pooled else _PARTS.format(region=_REGIONS[spec.region_style])
    lengths = ", ".join(f"{spec.lengths[level]} ({level})" for level in levels_of(model["arch"]))
    tags = ["clip", "scenarioclip", "zero-shot-image-classification"]
    head = front_matter("ScenarioCLIP " + model["arch"], tags, facts)
    return f"""{head}
# ScenarioCLIP, `{model["arch"]}`

Embeds pictures and texts at three levels of a scene: `global` (the whole picture and its action), `object`
(an object's box and its name) and `relation` (a region that shows two objects, and the triplet
"subject predicate object"). See ScenarioCLIP, arXiv 2511.20274.

| | |
| --- | --- |
| architecture | {ARCHITECTURE[model["arch"]]}{_POOLED if pooled else ""} |
| vision tower | width {vision["width"]}, {vision["depth"]} blocks, patches of {vision["patch_size"]} pixels |
| text tower | width {text["width"]}, {text["depth"]} blocks, vocabulary of {text["vocab_size"]} |
| embeddings | {model.get("embed_dim", 512)} dimensions, not normalized; compare them by cosine |
| pictures | {vision["image_size"]} x {vision["image_size"]} pixels: {fit} |
| tokens | {lengths}; longer texts are cut |
| weights | {dtype}; {origin} |

{parts}

## Use

```python
import torch
import numpy as np
from PIL import Image
from transformers import AutoModel, AutoProcessor

folder = "."  # this folder
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)

photo = Image.fromarray(np.linspace(0, 255, 480 * 640 * 3).reshape(480, 640, 3).astype("uint8"))
# or a photo of yours: photo = Image.open("photo.jpg")
texts = ["a person rides a horse", "two people talk"]
inputs = processor(images=[photo], text=texts, level="global")
with torch.no_grad():
    image = model.encode_image(inputs["pixel_values"], "global")
    text = model.encode_text(inputs["input_ids"], "global")
print(torch.nn.functional.cosine_similarity(image, text))
{_EXAMPLE_POOLED if pooled else ""}{_EXAMPLE_DESCRIBE}```

Needs torch and transformers, 4.57 or newer. `pipeline("zero-shot-image-classification", model=folder,
trust_remote_code=True)` works too, at the global level.

Texts are brought into the form that labels had in training: lower case, Unicode NFKC, no invisible characters,
one space between words, HTML entities replaced. The tokenizer alone, which pipelines call, does the same but
for HTML entities other than the usual ones: `&notin;` and `&#100;` stay as they are written.

The same folder opens in JAX: `scenarioclip_jax.load(folder)`.

{sections(facts)}"""
