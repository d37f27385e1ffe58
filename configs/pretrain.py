"""Pretraining ScenarioCLIP.

    python -m scenarioclip_jax.main --config=configs/pretrain.py[:PRESET] [--config.KEY=VALUE ...]

| preset   | what it is                                       | needs                | cost and result |
| -------- | ------------------------------------------------ | -------------------- | --------------- |
| `demo`   | small towers from scratch on the embedded scenes | nothing              | see README.md   |
| `vitb32` | the published set-up: CLIP ViT-B/32, 12 epochs   | `data.dir`, weights  | not run here    |
| `vitb16` | the same with ViT-B/16                           | `data.dir`, weights  | not run here    |
| `vitl14` | the same with ViT-L/14                           | `data.dir`, weights  | not run here    |

The published job trained batches of 128 scenes for 12 epochs on one GPU; neither its data set nor its
compute is known, so no result is promised for the last three. `init_from` names the CLIP weights that
they start from: a hub id, a folder, or a checkpoint of ours.

Keys that are most often overridden: `arch` (clip, pyramid_clip, scenario_clip_0, scenario_clip_1), `steps`,
`seed`, `data.dir`, `data.batch_size`, `init_from`, `loss.kind`, `loss.multi_positive`, `loss.accumulate`,
`model.share_stem`, `mesh.*`.
Values below are the arguments of the constructors that the comments name; those document them.
"""

import ml_collections
from ml_collections import config_dict

PRESETS = ("demo", "vitb32", "vitb16", "vitl14")


def get_config(preset: str = "demo") -> ml_collections.ConfigDict:
    if preset not in PRESETS:
        raise ValueError(
            f"configs/pretrain.py:{preset}: no such preset; there are {', '.join(PRESETS)}"
        )
    config = base()
    config.preset = preset
    {"demo": demo, "vitb32": vitb32, "vitb16": vitb16, "vitl14": vitl14}[preset](config)
    return config


def base() -> ml_collections.ConfigDict:
    """The published set-up as far as it doesn't depend on the size of the model."""
    config = ml_collections.ConfigDict()
    config.job = "train"
    config.seed = 0
    config.arch = "scenario_clip_1"
    config.epochs = 12.0  # used where `steps` is not given
    config.steps = config_dict.placeholder(int)
    config.init_from = ""  # CLIP or ScenarioCLIP weights; empty: from scratch
    config.log_every = 50  # steps
    config.compilation_cache = "~/.cache/scenarioclip_jax/xla"  # empty: none

    # models.scenario_clip.ScenarioCLIP; sizes are set by the presets
    config.model = dict(
        embed_dim=512,
        share_stem=False,
        patch_packing=False,
        dtype="float32",
        remat="none",
        unroll=1,
    )

    # data.settings.DataSettings (image size and seed come from the model and the run), and where things are
    config.data = dict(
        dir="",  # shards made by scenarioclip_jax.data.build; empty: the embedded scenes
        tokenizer="",  # tokenizer.json, folder or hub id; empty: the one beside the shards
        batch_size=128,
        groups=8,
        objects_per_scene=6.0,
        relations_per_scene=4.0,
        canvas_size=320,  # well above the view's 224: the canvas is the whole photo
        fit="centre_crop",
        text_row=0,  # tokens in a row of packed texts; 0: one text a row
        scene_tokens=10.0,
        object_tokens=20.0,
        relation_tokens=32.0,
        patch_row=2,  # these three: with model.patch_packing
        object_patches=60.0,
        relation_patches=80.0,
        min_visible=16.0,
        scene_length=32,
        object_length=16,
        relation_length=24,
        balance=False,
        shuffle_texts=False,
        num_workers=2,
        num_threads=2,
        prefetch=2,
        stall_seconds=600.0,  # longest wait for a batch before the run stops; 0: for ever
        max_corrupt_share=0.01,
    )
    # data.embedded: the data set that is built where `data.dir` is empty
    config.embedded = dict(num_scenes=6000, seed=0)

    # data.views.ViewSettings; jitter is (brightness, contrast, saturation, hue)
    config.views = dict(
        crop_area=(0.8, 1.0),
        global_jitter=(0.2, 0.2, 0.2, 0.05),
        object_jitter=(0.15, 0.15, 0.15, 0.03),
        relation_jitter=(0.1, 0.1, 0.1, 0.02),
        jitter_probability=0.2,
        blur_probability=0.1,
    )

    config.loss = dict(
        kind="softmax",  # or sigmoid, losses.contrastive
        multi_positive=False,  # True: equal texts of a batch are positives, not negatives
        accumulate=1,  # parts that a batch runs through the towers in: less memory, same gradient
        distill_weight=1.0,  # only scenario_clip_1 distils
        distill=dict(  # losses.distillation.kl
            scaling="published",
            temperature=0.07,
            student_temperature=config_dict.placeholder(float),  # that of the teacher if not given
        ),
    )

    # (regex, value) pairs: the first that matches a parameter's path decides, and one must match. Tuples, since
    # lists can't be overridden on the command line.
    config.trainable = (
        # As published. `model.share_stem` freezes it too, as the one stem of student and teacher.
        (r"vision/stem/(global|object|relation|all)/pre_norm/.*", True),
        (r"(vision|text)/stem/.*", False),
        (r".*", True),
    )
    config.optimizer = dict(  # train.optimizer
        peak=2e-5,
        warmup_fraction=0.1,
        start_factor=1e-3,
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        clip_norm=1.0,
        mu_dtype="float32",  # of the first moment; bfloat16 takes half
        skip_nonfinite=0,  # steps whose loss is no number that may be left out before the run stops
        weight_decay=(
            (r".*/(kernel|patch|token|position|cls)", 0.2),
            (r"logit_scale/.*", 0.2),  # as published
            (r".*", 0.0),
        ),
        rate_scale=((r".*", 1.0),),
    )
    # decay 0: no EMA; whole False: only of what the teacher runs, so less state and no EMA to evaluate
    config.ema = dict(decay=0.9995, warmup_steps=2000, whole=True)

    config.mesh = dict(data=-1, fsdp=1, tensor=1)  # parallel.mesh.make_mesh
    config.checkpoint = dict(every=1000, keep_last=2, keep_best=1)
    # On the validation split: how often (steps), with how many scenes (the first; 0: all), and by which of the
    # suites zero_shot, retrieval and hard_negatives; all share the embeddings of the first
    config.validation = dict(
        every=1000, scenes=2048, suites=("zero_shot", "retrieval", "hard_negatives")
    )
    # At the end, on the first scenes of the test split (0: all)
    config.report = dict(scenes=10_000, retrievals=6)
    # Settings to change on purpose when a run goes on, as "optimizer.peak,steps"; train/resume.py lists them
    config.resume = dict(allow=("",))
    return config


def clip_towers(config, *, width, depth, heads, patch, image, text_width, text_heads, stem_blocks):
    config.model.vision = dict(
        width=width,
        depth=depth,
        heads=heads,
        mlp_dim=4 * width,
        image_size=image,
        patch_size=patch,
        stem_blocks=stem_blocks,
        activation="quick_gelu",
        eps=1e-5,
    )
    config.model.text = dict(
        width=text_width,
        depth=12,
        heads=text_heads,
        mlp_dim=4 * text_width,
        vocab_size=49408,
        max_length=77,
        eos_id=49407,
        stem_blocks=10,
        activation="quick_gelu",
        eps=1e-5,
    )


def vitb32(config):
    clip_towers(
        config,
        width=768,
        depth=12,
        heads=12,
        patch=32,
        image=224,
        text_width=512,
        text_heads=8,
        stem_blocks=6,
    )
    config.init_from = config.data.tokenizer = "openai/clip-vit-base-patch32"


def vitb16(config):
    vitb32(config)
    config.model.vision.patch_size = 16
    config.init_from = config.data.tokenizer = "openai/clip-vit-base-patch16"


def vitl14(config):
    clip_towers(
        config,
        width=1024,
        depth=24,
        heads=16,
        patch=14,
        image=224,
        text_width=768,
        text_heads=12,
        stem_blocks=12,
    )
    config.model.embed_dim = 768
    config.model.remat = "dots"
    config.init_from = config.data.tokenizer = "openai/clip-vit-large-patch14"


def demo(config):
    """Small towers, all of them trained, from scratch. What differs from the published set-up and why:

    equal texts are positives (a batch holds each of the few action texts several times), the rate is that
    of training from scratch, and the teacher's memory fits the short run.
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
        activation="quick_gelu",
        eps=1e-5,
    )
    config.model.text = dict(
        width=64,
        depth=2,
        heads=4,
        mlp_dim=256,
        vocab_size=512,
        max_length=24,
        eos_id=-1,  # that of the data set's own tokenizer
        stem_blocks=0,
        activation="quick_gelu",
        eps=1e-5,
    )
    config.data.update(
        batch_size=32,
        groups=8,
        objects_per_scene=4.7,
        relations_per_scene=3.0,
        canvas_size=80,
        scene_length=16,
        object_length=10,
        relation_length=16,
        num_workers=0,
    )
    config.loss.multi_positive = True
    config.trainable = ((r".*", True),)
    config.optimizer.peak = 1e-3
    config.optimizer.b2 = 0.98  # CLIP's; the published 0.999 learns more slowly here
    config.optimizer.weight_decay = (
        (r".*/(kernel|patch|token|position|cls)", 0.05),
        (r".*", 0.0),
    )
    config.ema.update(decay=0.99, warmup_steps=100)
    config.checkpoint.every = config.validation.every = 250
    config.validation.scenes = 200
