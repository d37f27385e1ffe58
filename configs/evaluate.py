"""Evaluation: scores a checkpoint on any of the suites and writes a report.

    python -m scenarioclip_jax.main --config=configs/evaluate.py --config.checkpoint=DIR \
        [--config.suites=zero_shot,retrieval,…] [--config.baseline=CLIP_FOLDER] [--workdir=DIR]

`checkpoint` is a training run's workdir, the converter's output, a folder for PyTorch or a plain CLIP folder
(or hub id) in Hugging Face's format. Results go to `--workdir`: `results.json` for machines, `report.html` (one
file) for people. A suite that can't be scored is reported there with the reason, and the others continue; the
exit status is 1 if a suite that was named failed. Embeddings are kept in `cache`, so a second run of the same
checkpoint computes none.

    zero_shot, retrieval, hard_negatives, linear_probe    score the data set that the run was trained on, or
                                                          the one in data.dir; what the data doesn't support,
                                                          such as negatives, is left out unless suites are named
    paraphrases, half_truth, photo_search                 the same data set, where they are named: texts that
                                                          say the same in other words, texts with something
                                                          false added, photos found by what is in them
    aro, aro_order, sugarcrepe, sugarcrepe_pp,            need config.SUITE.path, and config.SUITE.images
    winoground, cola, colorswap, eqben, mmvp, bivlc,      if the images are elsewhere
    valse, vl_checklist, whatsup, vsr, svo, captions,
    urban1k, docci, dci, detection, refcoco, fg_ovd,
    imagenet, hico_det, swig_hoi, predcls, vg150

Nothing is downloaded. The cost is a forward pass of each image and text. A checkpoint of the demo is expected
to reach the scores in the report of its training.
"""

import ml_collections
from ml_collections import config_dict

from scenarioclip_jax.evaluation.suites.registry import DEFAULT, registered


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.job = "evaluate"
    config.preset = "evaluate"  # names the default workdir
    config.seed = 0  # for the bootstrap, the probe and the report's examples
    config.checkpoint = ""
    config.weights = ("student",)  # for our checkpoints: student, ema, or both
    config.baseline = ""  # another model to compare with, usually plain CLIP; empty: none
    config.suites = DEFAULT  # zero_shot, retrieval, hard_negatives, linear_probe

    # evaluation.settings.Settings
    # Levels that score a caption; the largest cosine counts. On a command line, `scene` is the level `global`,
    # whose name is a Python keyword: --config.levels=scene,relation
    config.levels = ("global",)
    config.relation_levels = ("relation",)  # the same for the focused regions of predcls
    config.object_levels = ("object",)  # the same for the boxes of detection
    config.prompt = "{}"  # class texts are used bare, as published
    config.probe = dict(rates=(1e-3, 1e-2), decays=(0.0, 1e-2), epochs=10, batch_size=256)

    # The data set of the in-domain suites (empty: what the checkpoint was trained on), and how many scenes to
    # take from the start of each split (0: all). Of several, DIR1,DIR2, each is scored by itself; weights,
    # as a run's mixture has them, mean nothing.
    config.data = dict(dir="", scenes=0)
    # Other drawn scenes than the run's; for a model that names no data, the default is configs/pretrain.py's
    config.demo_data = dict(
        num_scenes=config_dict.placeholder(int),
        seed=config_dict.placeholder(int),
        tier=config_dict.placeholder(str),
    )

    # Annotations as published, and the folder of the images, in which folders just below are looked through
    # too; empty images: beside the annotations, or in a folder `images` there. What each suite reads is said
    # where its path is missing, and in docs/guides/evaluate.md.
    for suite in registered().values():
        if suite.read is not None:
            config[suite.name] = dict(path="", images="")
    config.imagenet.templates = (
        ""  # a file with a prompt in each line, which are averaged; empty: prompt
    )
    config.detection.proposals = ""  # boxes in COCO's results format; empty: the true ones
    for suite in ("refcoco", "fg_ovd", "hico_det", "swig_hoi"):  # likewise
        config[suite].proposals = ""
    config.predcls.matching = "pan_seg"  # or bbox, as in OpenPSG's configs for this task
    config.predcls.clean_names = False  # True: drop -merged, -other, -stuff from PSG's class names
    config.skip_missing = False  # True: leave out records whose image can't be read, and count them
    # What to do with images that the model was trained on, as far as its folder tells: mark, or refuse.
    config.seen_images = "mark"
    # Token length of the public suites' texts; the texts that are cut are counted.
    # trained: the length in training, since positions that were never trained are meaningless
    # longest: all positions of the tower, which suits towers that started as CLIP's
    config.text_length = "trained"

    config.batch_size = 64  # images or texts embedded at once, over all devices
    config.num_threads = 2  # threads that read images
    config.bootstrap = 1000  # resamples behind the 95% intervals
    config.cache = "~/.cache/scenarioclip_jax/embeddings"  # empty: none
    config.compilation_cache = "~/.cache/scenarioclip_jax/xla"  # empty: none
    return config
