"""Pretraining ScenarioCLIP.

    python -m scenarioclip_jax.main --config=configs/pretrain.py[:PRESET] [--config.KEY=VALUE ...]

Presets; each command can be pasted as it is, with your own folders:

`demo` (the default): small towers from scratch on drawn scenes. Needs no data. It takes 9 minutes on 2 CPU
cores; held-out strict top-1 of actions, objects and relations is 32%, 57% and 3.1% (11, 21 and 191 times
chance).

    python -m scenarioclip_jax.main --config=configs/pretrain.py

`recipe`: the demo's towers with what makes relations learned: one pass over each photo for all levels, and
texts that are made to be false. Half the demo's length; docs/recipe.md says what each part is worth.

    python -m scenarioclip_jax.main --config=configs/pretrain.py:recipe

`vitb32`: the published set-up. CLIP ViT-B/32, 12 epochs, batches of 128 scenes, planned for 8 chips of TPU v5e.
On one GPU with less than 80 GB, add `--config.model.dtype=bfloat16 --config.model.remat=dots`. The published
data set and compute aren't known, so no result is promised. Not run here.

    python -m scenarioclip_jax.main --config=configs/pretrain.py:vitb32 --config.data.dir=SHARDS \
        --config.init_from=openai/clip-vit-base-patch32

`vitb16`, `vitl14`: the same with ViT-B/16 and ViT-L/14. Not run here. Larger batches on a pod, planned for TPU
v5e:16x16 by `python -m scenarioclip_jax.aot` (docs/guides/train.md has smaller plans, benchmarks/aot.md more):

    python -m scenarioclip_jax.main --config=configs/pretrain.py:vitb16 --config.data.dir=SHARDS \
        --config.data.batch_size=16384 --config.data.packing_groups=256 --config.model.dtype=bfloat16 \
        --config.model.remat=dots --config.model.share_stem=True --workdir=SHARED_FOLDER

`vitb32_fast`, `vitb16_fast`, `vitl14_fast`: the same towers, computed as GPUs and TPUs like it, in batches of
1,024. On one NVIDIA H200, steps of ViT-B/16 make 1,650 to 1,720 scenes a second.

    python -m scenarioclip_jax.main --config=configs/pretrain.py:vitb16_fast --config.data.dir=SHARDS

`siglipb16`: the published set-up, begun from SigLIP ViT-B/16 with its own heads and loss. Not run here.

    python -m scenarioclip_jax.main --config=configs/pretrain.py:siglipb16 --config.data.dir=SHARDS

`vitb32_recipe`: the recipe with CLIP ViT-B/32, for your own photos. Not run here.

    python -m scenarioclip_jax.main --config=configs/pretrain.py:vitb32_recipe --config.data.dir=SHARDS

The values below are arguments of the constructors that each section names, whose docstrings say more. `base`
has the sections in the order in which people usually change them; the long ones are functions of their name.
`WORKDIR/config.json` holds the values of a run.
"""

import ml_collections
from ml_collections import config_dict

PRESETS = (
    *("demo", "recipe"),
    *("vitb32", "vitb16", "vitl14"),
    *("vitb32_fast", "vitb16_fast", "vitl14_fast"),
    *("siglipb16", "vitb32_recipe"),
)


def get_config(preset: str = "demo") -> ml_collections.ConfigDict:
    if preset not in PRESETS:
        raise ValueError(
            f"configs/pretrain.py:{preset}: no such preset; there are {', '.join(PRESETS)}"
        )
    config = base()
    config.preset = preset  # names the default workdir
    towers, _, variant = preset.partition("_")
    towers_of = {"demo": demo, "recipe": demo_recipe}
    towers_of |= {"vitb32": vitb32, "vitb16": vitb16, "vitl14": vitl14, "siglipb16": siglipb16}
    towers_of[towers](config)
    if variant == "fast":
        fast(config)
    elif variant == "recipe":
        accelerated_recipe(config)
    return config


def base() -> ml_collections.ConfigDict:
    """The part of the published set-up that doesn't depend on the size of the model."""
    config = ml_collections.ConfigDict()
    config.job = "train"  # the job that main.py starts; configs/evaluate.py has another
    # Or clip, pyramid_clip, scenario_clip_0, scenario_clip_2, scenario_clip_shared: models.scenario_clip
    config.arch = "scenario_clip_1"
    config.init_from = (
        ""  # CLIP or ScenarioCLIP weights: hub id, folder or workdir; empty: from scratch
    )
    # Heads of a run that starts from plain CLIP: new, as published; or clip, which give CLIP's own similarities
    # and need model.embed_dim to be twice CLIP's.
    config.init_heads = "new"
    # Passes over the training split; used if `steps` is not given. One over a mixture reads as many scenes as
    # all its data sets hold together; the log says how often each is read.
    config.epochs = 12.0
    config.steps = config_dict.placeholder(int)  # optimizer steps of the whole run
    config.seed = 0  # for the parameters, the order of scenes and all random views

    config.data = data()
    # data.embedded, used if data.dir is empty; tier: plain or hard, see data.embedded.tier
    config.demo_data = dict(num_scenes=6000, seed=0, tier="plain")
    config.model = model()
    config.loss = loss()
    config.optimizer = optimizer()
    config.trainable = (
        # As published. `model.share_stem` freezes this norm too, since student and teacher share the stem.
        (r"vision/stem/(global|object|relation|all)/pre_norm/.*", True),
        (r"(vision|text)/stem/.*", False),
        (r".*", True),
    )
    config.ema = dict(  # the moving average of the parameters, which is the teacher
        decay=0.9995,  # 0: no average
        warmup_steps=2000,  # updates over which the decay rises from 0
        keep="all",  # teacher: average only what the teacher uses; less memory, no EMA model to evaluate
    )

    config.views = views()
    config.mesh = dict(data=-1, fsdp=1, tensor=1)  # devices per axis, -1: the rest; parallel.mesh

    config.log_every = 50  # steps
    config.checkpoint = dict(
        every=1000,  # steps
        keep_last=2,  # newest checkpoints to keep
        keep_best=1,  # best checkpoints by validation score to keep besides
    )
    config.validation = dict(
        every=1000,  # steps
        scenes=2048,  # taken from the start of each data set's validation split; 0: all
        suites=(
            "zero_shot",
            "retrieval",
            "hard_negatives",
        ),  # all share the embeddings of the first
    )
    config.report = dict(  # at the end, on the test split
        scenes=10_000,  # taken from its start; 0: all
        queries=6,  # texts per level whose nearest views are shown
    )
    # Settings to change on purpose when a run resumes, such as "optimizer.learning_rate,steps": train/resume.py
    config.resume = dict(allow=("",))
    config.compilation_cache = "~/.cache/scenarioclip_jax/xla"  # compiled programs; empty: none
    return config


def data() -> dict:
    """Paths of the data, and `data.settings.DataSettings`.

    Its image size and seed come from the model and the run.
    """
    return dict(
        # Shards made by scenarioclip_jax.data.build; empty: the demo's drawn scenes. Several data sets with
        # their shares: DIR1:0.5,DIR2:0.5; without weights, in proportion to their sizes. See data.mixture.
        dir="",
        tokenizer="",  # tokenizer.json, folder or hub id; empty: the one beside the shards
        batch_size=128,  # scenes in the global batch, over all devices and processes
        # Groups in which a batch's objects and relations are packed: a multiple of the number of parts that the
        # mesh splits the batch into (usually the devices). Fewer groups are fuller. The same number gives the
        # same batches on any mesh.
        packing_groups=8,
        levels=levels(),
        text_row_tokens=0,  # tokens in a row of packed texts; 0: one text per row
        patch_row_views=2,  # length of a row of packed patches, in whole views
        balance=False,  # True: scenes are dealt so that all batches need about the same room
        # Side in pixels of the photo that is shipped to the device, well above the view's 224
        # (model.vision.image_size), because random crops are cut from it.
        canvas_size=320,
        fit="centre_crop",  # how a photo becomes a square view; or contain, squash
        # How focused regions are shown: stored (as the data set has them); boxes, masks (black around them);
        # blurred, published (photo around them, made on the device): data.region_styles.
        region_style="stored",
        min_visible_pixels=16.0,  # objects and relations with fewer pixels in the view are left out
        # What the level `global` reads: action, caption (one of the scene's), or mixed. A scene that lacks the
        # one reads the other.
        global_text="action",
        caption_share=0.5,  # share of captions with mixed
        # Negatives and paraphrases to make from graph and boxes for a relation whose annotations have fewer.
        make_negatives=0,
        make_paraphrases=0,
        caption_sentences=False,  # True: captions beside actions are one sentence instead of all
        shuffle_texts=False,  # True: a control run in which nothing can be learned
        num_workers=2,  # reading processes; 0: threads of the training process
        num_threads=2,  # reading threads in each of them
        prefetch=2,  # batches that each of them keeps ready
        stall_seconds=600.0,  # longest wait for a batch before the run stops; 0: forever
        max_corrupt_share=0.01,  # share of the records that may be unreadable before the run stops
    )


def levels() -> dict:
    """Room in a batch, by level; `python -m scenarioclip_jax.train.budgets` tells what a data set needs."""
    return {
        "scene": dict(  # the level `global`, whose name is a Python keyword
            text_length=32,  # tokens of an action; longer texts are cut
            tokens_per_scene=10.0,  # tokens of distinct texts, with text_row_tokens
            further_per_scene=0.0,  # captions beside actions, for loss.terms
        ),
        "object": dict(
            text_length=16,
            slots_per_scene=6.0,  # objects, on average
            tokens_per_scene=20.0,
            patches_per_scene=60.0,  # visible patches, with model.patch_packing
        ),
        "relation": dict(
            text_length=24,
            slots_per_scene=4.0,
            tokens_per_scene=32.0,
            patches_per_scene=80.0,
            further_per_scene=0.0,  # negatives and paraphrases, for loss.terms
        ),
    }


def model() -> dict:
    """`models.scenario_clip.ScenarioCLIP`; the presets add its towers."""
    return dict(
        embed_dim=512,  # size of the space in which images and texts are compared
        share_stem=False,  # True: one frozen stem for all levels and the teacher, instead of one each
        patch_packing=False,  # True: towers compute only the patches that show something
        # views: an object or a relation is the photo with all else black, as published. pooled: it is the patch
        # tokens of the photo under its boxes, so a tower sees a photo once.
        regions="views",
        # With pooled regions: parts along each side of an object's box that are pooled beside it; 1: none.
        object_parts=1,
        ends_as_objects=False,  # with pooled regions: a relation also reads what its two ends are as objects
        dtype="float32",  # of activations, or bfloat16; parameters are float32
        remat="none",  # what is recomputed in the backward pass instead of kept: none, dots, full
        unroll=1,  # blocks per iteration of the loop over blocks; more: faster, slower to compile
        # The kernel: auto (cudnn on GPUs, else plain), plain, cudnn, or pallas (TPUs): models.attention
        attention="auto",
    )


def loss() -> dict:
    """What a step makes smaller: `losses` and `train.objective`."""
    return dict(
        kind="softmax",  # or sigmoid: losses.contrastive
        multi_positive=False,  # True: equal texts in a batch are positives, not negatives
        # Type of the factors in the products of all images with all texts; sums are float32. auto: model.dtype
        # on accelerators, float32 on CPU; or float32, bfloat16.
        products="auto",
        accumulate=1,  # parts in which a batch goes through the towers: less memory, same gradient
        # Weights of the levels' contrastive losses; published: 1.
        level_weights=dict(scene=1.0, object=1.0, relation=1.0),
        # Weights of terms that aren't published (losses.candidates). Each reads further texts of its level, for
        # which data.levels.*.further_per_scene makes room.
        terms=dict(
            negatives=0.0,  # a relation's picture: its own text against its negatives
            paraphrases=0.0,  # the same for its paraphrases
            scene_texts=0.0,  # its own text against those of the scene's other relations
            scene_pictures=0.0,  # a relation's text: its own picture against the scene's other ones
            texts=0.0,  # a relation's text: its paraphrases against its negatives
            captions=0.0,  # the whole photo: its caption against the other photos'
            parts=0.0,  # a name or triplet: the photos of the batch that show it against the others
        ),
        distill_weight=1.0,  # weight of the distillation of scenario_clip_1, the divergences of _2
        distill=dict(  # losses.distillation.kl
            scaling="published",  # or plain, which is 10^5 times stronger
            temperature=0.07,
            student_temperature=config_dict.placeholder(float),  # the teacher's if not given
        ),
    )


def optimizer() -> dict:
    """`train.optimizer.make_optimizer`, and the learning rate over time."""
    return dict(
        learning_rate=2e-5,  # highest rate, at the end of the warm-up; then half a cosine to 0
        warmup_fraction=0.1,  # share of all steps
        warmup_start=1e-3,  # the first step's rate, as a share of learning_rate
        clip_norm=1.0,  # limit on the gradient's global norm
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        mu_dtype="float32",  # type of the first moment; bfloat16 takes half the memory
        skip_nonfinite=0,  # steps with a NaN or infinite loss that may be skipped before the run stops
        # Here and in `learning_rate_scale` and `trainable`: (regex, value) pairs. The first regex that matches
        # a parameter's path decides, and one must match. These are tuples because flags can't override lists.
        weight_decay=(
            (r".*/(kernel|patch|token|position|cls)", 0.2),
            (r"logit_scale/.*", 0.2),  # as published
            (r".*", 0.0),
        ),
        learning_rate_scale=((r".*", 1.0),),
        layer_decay=1.0,  # a layer's rate as a share of the next one's: train.layer_decay
        # Rank of the matrix by which a parameter may change; 0: it changes as it likes. train.lora
        lora_rank=((r".*", 0),),
        lora_scale=2.0,  # factor on these matrices: alpha / rank
        lora_rate=10.0,  # factor on the learning rate of the two matrices that each is the product of
    )


def views() -> dict:
    """`data.device.views.ViewSettings`: how photos are changed in training."""
    return dict(
        crop_area=(0.8, 1.0),  # smallest and largest share of the photo in a random crop
        jitter={  # strengths of brightness, contrast, saturation and hue
            "scene": (0.2, 0.2, 0.2, 0.05),
            "object": (0.15, 0.15, 0.15, 0.03),
            "relation": (0.1, 0.1, 0.1, 0.02),
        },
        jitter_probability=0.2,
        blur_probability=0.1,
    )


# The towers of CLIP (Radford et al. 2021, tables 19 and 20); the stems are as published for ScenarioCLIP.
CLIP_TOWER = dict(activation="quick_gelu", eps=1e-5)
CLIP_TEXT = dict(
    depth=12, vocab_size=49408, max_length=77, eos_id=49407, stem_blocks=10, **CLIP_TOWER
)
B32 = dict(
    vision=dict(
        width=768,
        depth=12,
        heads=12,
        mlp_dim=3072,
        image_size=224,
        patch_size=32,
        stem_blocks=6,
        **CLIP_TOWER,
    ),
    text=dict(width=512, heads=8, mlp_dim=2048, **CLIP_TEXT),
)
B16 = dict(vision=B32["vision"] | dict(patch_size=16), text=B32["text"])
L14 = dict(
    vision=dict(
        width=1024,
        depth=24,
        heads=16,
        mlp_dim=4096,
        image_size=224,
        patch_size=14,
        stem_blocks=12,
        **CLIP_TOWER,
    ),
    text=dict(width=768, heads=12, mlp_dim=3072, **CLIP_TEXT),
)


def vitb32(config):
    config.model.update(**B32)
    config.init_from = config.data.tokenizer = "openai/clip-vit-base-patch32"


def vitb16(config):
    config.model.update(**B16)
    config.init_from = config.data.tokenizer = "openai/clip-vit-base-patch16"


def vitl14(config):
    config.model.update(**L14)
    config.model.embed_dim = 768
    config.model.remat = "dots"
    config.init_from = config.data.tokenizer = "openai/clip-vit-large-patch14"


def siglipb16(config):
    """SigLIP (Zhai et al. 2023): no class token, no causal mask, texts of 64 tokens, sigmoid loss."""
    tower = dict(width=768, depth=12, heads=12, mlp_dim=3072)
    tower |= dict(activation="gelu_pytorch_tanh", eps=1e-6)
    config.model.vision = tower | dict(
        image_size=224, patch_size=16, stem_blocks=6, pooling="attention"
    )
    config.model.text = tower | dict(
        vocab_size=32000, max_length=64, eos_id=1, stem_blocks=10, pooling="last"
    )
    config.model.embed_dim = 2 * 768  # SigLIP's own heads, which give its cosines
    config.init_heads = "clip"
    config.loss.kind = "sigmoid"
    config.init_from = config.data.tokenizer = "google/siglip-base-patch16-224"
    config.data.fit = "squash"
    for level in config.data.levels.values():
        level.text_length = 64


# Visible patches of a scene's objects and relations, by the side of a patch, with a sixth to spare, where boxes
# are as in COCO (benchmarks/scenes.py). `python -m scenarioclip_jax.train.budgets` finds those of your data.
VISIBLE_PATCHES = {32: (40.0, 47.0), 16: (104.0, 122.0), 14: (128.0, 151.0)}


def fast(config):
    """What accelerators are good at: bfloat16, each frozen block once, and no work on black patches or padding.

    Differences from the published set-up: bfloat16 factors, whose sums and whose parameters are float32; one
    frozen stem for all levels, with the norm in front of it; objects and relations see their visible patches
    only; batches are dealt so that each needs about the same room.
    """
    config.model.update(share_stem=True, patch_packing=True, dtype="bfloat16", remat="dots")
    config.trainable = ((r"(vision|text)/stem/.*", False), (r".*", True))
    config.data.update(batch_size=1024, balance=True, text_row_tokens=36, num_workers=8)
    patches = VISIBLE_PATCHES[config.model.vision.patch_size]
    config.data.levels.scene.tokens_per_scene = 8.0
    config.data.levels.object.update(tokens_per_scene=8.0, patches_per_scene=patches[0])
    config.data.levels.relation.update(tokens_per_scene=26.0, patches_per_scene=patches[1])


def demo(config):
    """Small towers, fully trained from scratch.

    Differences from the published set-up: equal texts are positives (a batch holds each of the few action texts
    several times), the learning rate suits training from scratch, and the teacher's memory fits the short run.
    """
    config.epochs = 6.2  # 816 steps
    config.log_every = 20
    config.model.embed_dim = 128
    config.model.unroll = 4  # no loop over blocks: faster on CPU
    config.model.vision = dict(
        width=128,
        depth=4,
        heads=4,
        mlp_dim=512,
        image_size=64,
        patch_size=16,
        stem_blocks=0,
        **CLIP_TOWER,
    )
    config.model.text = dict(
        width=64,
        depth=2,
        heads=4,
        mlp_dim=256,
        vocab_size=512,
        max_length=24,
        eos_id=-1,  # the id of the data set's own tokenizer
        stem_blocks=0,
        **CLIP_TOWER,
    )
    config.data.update(batch_size=32, canvas_size=80, num_workers=0)
    config.data.levels.scene.text_length = 16
    config.data.levels.object.update(text_length=10, slots_per_scene=4.7)
    config.data.levels.relation.update(text_length=16, slots_per_scene=3.0)
    config.loss.multi_positive = True
    config.trainable = ((r".*", True),)
    config.optimizer.learning_rate = 1e-3
    config.optimizer.b2 = 0.98  # CLIP's; the published 0.999 learns more slowly here
    config.optimizer.weight_decay = (
        (r".*/(kernel|patch|token|position|cls)", 0.05),
        (r".*", 0.0),
    )
    config.ema.update(decay=0.99, warmup_steps=100)
    config.checkpoint.every = config.validation.every = 250
    config.validation.scenes = 200


def recipe(config):
    """What makes relations learned; docs/recipe.md says what each part is worth.

    One vision tower sees a photo once, and objects and relations are pooled from it; each level has its own
    text tower; each relation's picture is compared with texts that are made to be false of it: its own text is,
    and one that says the same in other words.
    """
    config.arch = "scenario_clip_0"
    config.model.update(regions="pooled", object_parts=2, ends_as_objects=True)
    config.loss.level_weights.object = 2.0
    config.loss.terms.update(negatives=2.0, paraphrases=1.0)
    config.data.update(make_negatives=4, make_paraphrases=1)  # of each relation
    config.data.levels.relation.further_per_scene = 15.0


def demo_recipe(config):
    demo(config)
    recipe(config)
    config.epochs = 3.1  # 408 steps
    config.model.vision.patch_size = 8  # as much to compute as the demo's many views of 16
    config.data.text_row_tokens = 48
    config.data.levels.scene.tokens_per_scene = 8.0
    config.data.levels.object.tokens_per_scene = 18.0
    config.data.levels.relation.tokens_per_scene = 150.0
    # Who does what to whom is a matter of which word comes first. Positions start small, as CLIP's do, and at
    # the usual rate some runs took most of their steps to notice them.
    config.optimizer.learning_rate_scale = (
        (r"text/stem/relation/position", 10.0),
        (r".*", 1.0),
    )


def accelerated_recipe(config):
    fast(config)
    recipe(config)
    config.model.patch_packing = False  # objects and relations are no views
    config.data.text_row_tokens = 48
    config.data.levels.relation.update(slots_per_scene=4.0, further_per_scene=20.0)
    config.data.levels.relation.tokens_per_scene = 225.0
