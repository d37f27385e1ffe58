"""Zero-shot classification of folders of images, as ImageNet and its variants are laid out.

    images/FOLDER/*.JPEG    a folder for each class, such as n01440764
    CLASSES.json            {FOLDER: name, …}; or {"0": [FOLDER, name], …} as Keras has it, where a folder may
                            also be called by the number, as in ImageNet-V2
    templates               a text file with a prompt in each line, such as "a photo of a {}."; without one,
                            `config.prompt` is the only prompt

The classes are those that have a folder, so the 200 of ImageNet-A and -R compete among themselves, as
published. With several templates, a class is the mean of its prompts' normalized embeddings, normalized
(Radford et al. 2021, section 3.1.4).
"""

import hashlib

import numpy as np
from jaxtyping import Float

from scenarioclip_jax.data.stored.labels import normalize_label
from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.image_files import EXTENSIONS
from scenarioclip_jax.evaluation.records import Row, read_json
from scenarioclip_jax.evaluation.score.result import Example, Metric, Result, by_class
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

PROTOCOL = (
    "Top k: the image's class is among the k nearest of the classes that have a folder; a tie is wrong. Mean "
    "over classes: each class counts alike."
)
ROWS = 4096  # images compared with all classes at once


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the suite; raises SuiteError if the class file is malformed or no class has an image."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    records = read(files, result)
    names = list(dict.fromkeys(record.values for record in records))
    place = {name: at for at, name in enumerate(names)}
    labels = np.array([place[record.values] for record in records])
    prompts = settings.templates or (settings.prompt,)
    if settings.templates:  # scores of other templates can't be compared
        text = "\n".join(settings.templates)
        files.digests["templates"] = hashlib.sha256(text.encode()).hexdigest()
    classes = _classes(encoder, names, prompts, settings)
    pictures = [Picture(record.paths[0]) for record in records]
    images = normalize(by_levels(encoder.images, pictures, settings.levels))
    at_least, best, tied = _ranks(images, classes, labels)
    for k in (1, 5):
        capped = min(k, len(names))
        hits, chance = (at_least <= capped).astype(float), capped / len(names)
        result.metrics[f"top{k}"] = Metric(hits, chance=chance)
        result.metrics[f"macro_top{k}"] = Metric(hits, labels, chance=chance)
    result.ties["images"] = tied
    result.counts = {"images": len(records), "classes": len(names), "prompts": len(prompts)}
    result.choices["prompts"] = list(prompts[:3]) + (["…"] if len(prompts) > 3 else [])
    result.bars["top-1 by class"] = by_class([names[i] for i in labels], at_least <= 1)
    result.examples["misses"] = [
        Example(pictures[i], f"{names[labels[i]]}, not {names[best[i]]}", False)
        for i in np.flatnonzero(at_least > 1)[:6]
    ]
    return result


def _classes(
    encoder: Encoder, names: list[str], prompts: tuple[str, ...], settings: Settings
) -> Float[np.ndarray, "V C D"]:
    total = 0.0
    for prompt in prompts:
        form = normalize_label(prompt)
        texts = [form.replace("{}", name) for name in names]
        total = total + normalize(by_levels(encoder.texts, texts, settings.levels))
    return normalize(np.asarray(total))


def _ranks(
    images: Float[np.ndarray, "V N D"], classes: Float[np.ndarray, "V C D"], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """How many classes are at least as near as the right one, itself included; the nearest; and the ties."""
    at_least, best, tied = [], [], 0
    for start in range(0, images.shape[1], ROWS):
        part = images[:, start : start + ROWS]
        scores = np.einsum("vnd,vcd->vnc", part, classes).max(axis=0)
        own = np.take_along_axis(scores, labels[start : start + ROWS, None], 1)
        at_least.append((scores >= own).sum(axis=1))
        best.append(scores.argmax(axis=1))
        tied += int(((scores == own).sum(axis=1) > 1).sum())
    return np.concatenate(at_least), np.concatenate(best), tied


def read(files: Files, result: Result) -> list[Located]:
    """Reads the classes and finds their images; a record's value is the name of its class."""
    known = _names(files)
    wanted = []
    for root in files.images:
        folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        strange = [folder.name for folder in folders if folder.name not in known]
        mine = [folder for folder in folders if folder.name in known]
        for folder in mine:
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in EXTENSIONS:
                    name = f"{folder.name}/{path.name}"
                    wanted.append(Wanted(str(path), (name,), known[folder.name]))
        if mine and strange:
            result.notes.append(
                f"{len(strange)} folders of no class left out, such as {', '.join(strange[:3])}"
            )
        if wanted:
            break
    if not wanted:
        where = " or ".join(map(str, files.images))
        raise SuiteError(
            f"{where}: no folder there is that of a class in {files.path}, such as {next(iter(known))}",
            f"name the folder that holds them with config.{files.suite}.images=DIR",
        )
    records = files.locate(wanted, result.skips)
    folders: dict[str, set[str]] = {}
    for record in records:
        folders.setdefault(record.values, set()).add(record.paths[0].parent.name)
    if alike := sorted(name for name, of_name in folders.items() if len(of_name) > 1):
        result.notes.append(
            f"{len(alike)} names belong to several folders, such as {alike[0]!r}, which count as one class"
        )
    if len({record.values for record in records}) < 2:
        raise SuiteError(f"{files.path}: one class has images; there is nothing to tell apart")
    return records


def _names(files: Files) -> dict[str, str]:
    """Names of the classes by folder."""
    content = read_json(files.path, files.digests)
    if not isinstance(content, dict) or not content:
        raise SuiteError(f"{files.path}: expected an object from folders to names, not empty")
    known = {}
    for key, value in content.items():
        row = Row({"class": value}, f"{files.path} [{key!r}]")
        if isinstance(value, list):
            if len(value) != 2 or not isinstance(value[0], str):
                raise SuiteError(f"{row.where}: {value!r:.80}, expected [folder, name]")
            name = Row({"name": value[1]}, row.where).category("name")
            known |= {value[0]: name, str(key): name}
        else:
            known[str(key)] = row.category("class")
    return known


_FILES = "names of classes by folder; images: the folder with theirs"
SUITES = (Suite("imagenet", evaluate, read, path="file", files=_FILES),)
