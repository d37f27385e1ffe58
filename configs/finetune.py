"""Fine-tuning from any weights that `scenarioclip_jax.load` opens, plain CLIP included.

    python -m scenarioclip_jax.main --config=configs/finetune.py[:TASK] --config.init_from=WEIGHTS \
        --config.data.dir=SHARDS [--config.KEY=VALUE ...]

Tasks, which are starting points: every setting can be changed.

`classification` (the default): actions, objects and relations get the right class among those of the data set.
`retrieval`: pictures find their texts and texts their pictures, whole photos their captions.
`predicate`: relations are told from the same relation with another predicate, or with its ends exchanged.
`detection`: boxes get the right name.

All of them go on as pretraining did, with contrastive losses between pictures and texts: fine-tuned like that,
CLIP's towers do better than with a new classifier on top (Goyal et al. 2023), and the result still reads any
words.
Architecture, tokenizer, lengths of texts and the way in which photos are prepared are those of the weights.
docs/guides/finetune.md says how to choose, and what to expect.
"""

import runpy
from pathlib import Path

import ml_collections
from ml_collections import config_dict

TASKS = ("classification", "retrieval", "predicate", "detection")


def get_config(task: str = "classification") -> ml_collections.ConfigDict:
    if task not in TASKS:
        raise ValueError(f"configs/finetune.py:{task}: no such task; there are {', '.join(TASKS)}")
    # The settings of every training run, of which those below differ.
    config = runpy.run_path(str(Path(__file__).with_name("pretrain.py")))["base"]()
    config.preset = f"finetune-{task}"  # names the default workdir
    config.arch = "pyramid_clip"  # only of plain CLIP: one pair of towers for all levels
    config.init_heads = "clip"  # of plain CLIP: its own
    config.epochs = 5.0
    config.finetune = dict(
        # The levels to teach; what serves none of them stays as it is. `scene` is the level `global`.
        levels=("scene", "object", "relation"),
        # What is trained: full, last (the last blocks and the heads), lora (what blocks compute, by matrices of
        # low rank, and the heads), heads
        parts="full",
        blocks=2,  # with `last`: of each tower
        rank=16,  # with `lora`: of these matrices
        patience=3,  # validations without a better score before the run ends; 0: it runs to its last step
        score="top1",  # what validation chooses by: top1; R1, recall@1 of texts and pictures; negatives
        shots=0,  # training pictures of each class and level; 0: all there are
        draw=0,  # which pictures these are: another number, another draw
        # Shares of the fine-tuned weights, the rest being those that it started from, that the report compares.
        shares=(0.0, 0.25, 0.5, 0.75, 1.0),
    )
    config.loss.multi_positive = True  # equal texts in a batch are positives
    config.loss.distill_weight = 0.0
    config.optimizer.learning_rate = 1e-5
    config.optimizer.layer_decay = 0.75
    config.ema.decay = 0.0  # no average: the report compares shares of the weights instead
    config.validation.every = config.checkpoint.every = 200
    config.data.canvas_size = config_dict.placeholder(int)  # of the weights' view
    for level in config.data.levels.values():
        level.text_length = config_dict.placeholder(int)  # that of the weights
    {
        "classification": classification,
        "retrieval": retrieval,
        "predicate": predicate,
        "detection": detection,
    }[task](config)
    return config


def classification(config):
    config.validation.suites = ("zero_shot",)


def retrieval(config):
    config.finetune.score = "R1"
    config.data.global_text = "mixed"  # captions and actions
    config.validation.suites = ("zero_shot", "retrieval")


def predicate(config):
    config.finetune.levels = ("relation",)
    config.finetune.score = "negatives"  # relations that beat all of their annotated negatives
    config.loss.terms.negatives = 2.0
    config.data.make_negatives = 4
    config.data.levels.relation.further_per_scene = 16.0
    config.validation.suites = ("zero_shot", "hard_negatives")


def detection(config):
    config.finetune.levels = ("object",)
    config.validation.suites = ("zero_shot",)
