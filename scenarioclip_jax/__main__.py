"""`python -m scenarioclip_jax`: lists the commands and what they run on."""

import importlib.metadata
import platform

COMMANDS = {
    "main --config=configs/pretrain.py[:PRESET] --workdir=DIR": "train, validate, report; again to go on",
    "main --config=configs/finetune.py[:TASK] --config.init_from=WEIGHTS": "teach existing weights one task",
    "main --config=configs/evaluate.py --config.checkpoint=DIR": "score a model by benchmarks and its own data",
    "evaluation.compare NAME=DIR,DIR NAME=DIR --output DIR": "one table of several evaluations, for a paper",
    "importers SOURCE --output DIR": "make metadata of COCO, Visual Genome and others; export it",
    "annotate run --images DIR --output WORK": "make annotations of photos by models",
    "data.build --metadata DIR --output DIR": "make shards of photos and annotations",
    "describe --model DIR --words DATA --photo FILE --box ...": "a photo's action, names of objects, relations",
    "search index --model DIR --photos DIR --output ALBUM": "embed photos; `search query` finds some",
    "demo --api --model DIR --words DATA --index ALBUM": "serve descriptions, embeddings and search",
    "convert from-huggingface | from-reference | to-pytorch | push": "bring weights in and out",
    "train.budgets --config=configs/pretrain.py": "how much room batches of a data set need",
    "aot --config=configs/pretrain.py:vitb32 --topology=v5e:16x16": "will it fit on a pod? needs no TPU",
}
LIBRARIES = ("scenarioclip_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain")
LIBRARIES += ("transformers", "numpy", "pillow")


def main() -> None:
    print("Commands, each as python -m scenarioclip_jax.COMMAND (--help says more):\n")
    width = max(map(len, COMMANDS))
    for command, purpose in COMMANDS.items():
        print(f"  {command:<{width}}  {purpose}")
    print(f"\nPython {platform.python_version()} on {platform.platform()}")
    for name in LIBRARIES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        print(f"  {name} {version}")
    import jax  # last: it looks for accelerators

    print(f"\nDevices: {', '.join(map(str, jax.devices()))}")


if __name__ == "__main__":
    main()
