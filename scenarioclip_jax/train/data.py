"""The data of a run: its data sets, class texts and tokenizer, from shards or from the demo's drawn scenes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.checkpoint import steps
from scenarioclip_jax.command import Config, ConfigError, listed, naming
from scenarioclip_jax.console import say
from scenarioclip_jax.data import few_shots, photo_digests
from scenarioclip_jax.data.build.dataset import default_embedded
from scenarioclip_jax.data.corrupt import CorruptDataError
from scenarioclip_jax.data.mixture import Entry, parse, whole_weights
from scenarioclip_jax.data.pipeline import TrainIterator
from scenarioclip_jax.data.settings import DataSettings, as_level
from scenarioclip_jax.data.source import Mixture, Source, identity_digest
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.remote import local_data
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.parallel.distributed import union
from scenarioclip_jax.paths import address_of, local_path
from scenarioclip_jax.shell import to_paste
from scenarioclip_jax.storage.cache import local_copy
from scenarioclip_jax.train.config import data_settings


class TooCorruptError(CorruptDataError):
    """Too many records are corrupt; all processes know it and are at the same step."""


class DataSet(NamedTuple):
    """One of the data sets of a run.

    Attributes:
      name: Its name in logs and reports; empty if it is the only one.
      classes: Texts of its actions, objects and relations.
    """

    name: str
    directory: Path
    train: Source
    validation: shards.SceneSource | None  # None if too few photos were built to give it any
    test: shards.SceneSource | None
    classes: dict[str, list[str]]


class RunData(NamedTuple):
    """The data of a run.

    Attributes:
      sets: Its data sets, several for a mixture.
      train: Scenes of their training splits.
      classes: Texts of their actions, objects and relations. An equal text of several data sets is one class.
    """

    sets: tuple[DataSet, ...]
    train: Source
    classes: dict[str, list[str]]
    tokenizer: Tokenizer
    settings: DataSettings

    @property
    def sizes_folder(self) -> Path:
        """The folder that keeps the sizes of the scenes for `data.balance`: that of the first data set."""
        return shards.dataset_dir(self.sets[0].directory)


def open_data(config: Config, workdir: Path | None = None) -> RunData:
    """Opens the data sets that `config.data` names; draws the demo's scenes if it names none.

    Args:
      workdir: The run's folder. A run that resumes from a checkpoint uses the tokenizer stored there.

    Raises:
      ConfigError: There is no data set or no tokenizer, or the tokenizer doesn't fit the text tower.
      DataSetError: The data set is damaged.
    """
    with naming("data.dir"):
        entries = parse(config.data.dir) if config.data.dir else [Entry("")]
    sets, has_images = [], False
    for entry in entries:
        if config.data.dir:
            with naming("data.dir"):
                directory = local_data(entry.path)
        else:
            with naming("demo_data"):
                directory = default_embedded(**config.demo_data)
        with naming("data.dir"):
            summary = shards.load_summary(directory)
            classes = shards.load_classes(directory)
            train, validation, test = (_open(directory, split, summary) for split in shards.SPLITS)
            if train is None:
                raise ConfigError(f"config.data.dir={directory}: its training split holds no scene")
        sets.append(DataSet(entry.name, directory, train, validation, test, classes))
        has_images |= summary["has_focus_images"]
    if "finetune" in config and config.finetune.shots:
        sets = [_few_shots(each, config.finetune) for each in sets]
    with naming("data.dir"):
        train = sets[0].train if len(sets) == 1 else _mix(entries, sets)
    return RunData(
        tuple(sets),
        train,
        classes=merge_classes([each.classes for each in sets]),
        tokenizer=_tokenizer(config, [each.directory for each in sets], workdir),
        settings=data_settings(config, focus_images=has_images),
    )


def _few_shots(data: DataSet, section: Config) -> DataSet:
    """The data set with a few pictures of each class in its training split."""
    levels = [as_level(name) for name in listed(section.levels)]
    kept = few_shots.choose(data.train, levels, section.shots, section.draw)
    if not kept:
        raise ConfigError(
            f"config.finetune.shots={section.shots}: the training split of {data.directory} has no picture of "
            f"a class at {', '.join(levels)}; name other levels in config.finetune.levels"
        )
    return data._replace(train=few_shots.FewShots(data.train, kept))


def _mix(entries: Sequence[Entry], sets: Sequence[DataSet]) -> Mixture:
    """Puts the training splits together.

    Raises:
      ConfigError: Two of them are the same.
    """
    first: dict[str, DataSet] = {}
    for each in sets:
        other = first.setdefault(identity_digest(each.train), each)
        if other is not each:
            raise ConfigError(
                f"config.data.dir: {other.directory} and {each.directory} hold the same training split; "
                "name one of them, with the sum of the weights"
            )
    weights = whole_weights(entries, [len(each.train) for each in sets])
    return Mixture({each.name: each.train for each in sets}, weights)


def keep_photos(config: Config, data: RunData, workdir: Path) -> None:
    """Keeps digests of the photos that the run is trained on, and of those of the weights that it starts from.

    An evaluation tells by them which of its images the model has seen. Data sets and weights from before there
    were such digests add none, nor does plain CLIP, so that what is found is the least that was seen.
    """
    if (workdir / photo_digests.OF_RUN).is_file():  # the run resumes
        return
    folders = [shards.dataset_dir(each.directory) for each in data.sets]
    files = [folder / photo_digests.of_split("train") for folder in folders]
    if config.init_from:
        from scenarioclip_jax.interop.hub import local_folder

        files.append(local_folder(config.init_from) / photo_digests.OF_RUN)
    known = [found for file in files if (found := photo_digests.read(file)) is not None]
    if known:
        photo_digests.write(workdir / photo_digests.OF_RUN, np.concatenate(known))


def merge_classes(lists: Sequence[dict[str, list[str]]]) -> dict[str, list[str]]:
    """The union of class texts, by kind. Labels are normalized when they are built, so equal ones are equal."""
    return {kind: sorted(set().union(*(each[kind] for each in lists))) for kind in lists[0]}


def share_corrupt(batches: TrainIterator, where: str) -> None:
    """Tells every process which corrupt records any of them has met; all call it at the same point.

    Raises:
      TooCorruptError: Together they exceed `data.max_corrupt_share`. Every process raises it.
    """
    known = union(batches.corrupt.reasons, f"corrupt records {where}")
    try:
        batches.corrupt.know(known)
    except CorruptDataError as error:
        raise TooCorruptError(str(error)) from None


def _open(directory: Path, split: str, summary: dict) -> shards.SceneSource | None:
    if summary["splits"][split]:
        return shards.open_split(directory, split)
    say(f"{directory} has no {split} split, so what needs it is left out")
    return None


def _tokenizer(config: Config, directories: Sequence[Path], workdir: Path | None) -> Tokenizer:
    """Opens the tokenizer that a resumed run already used, else the configured one, else the data sets'."""
    resumed = workdir if workdir is not None and steps(workdir) else None
    with naming("data.tokenizer"):
        if resumed:
            tokenizer = Tokenizer.load(resumed / "tokenizer.json")
        elif config.data.tokenizer:
            tokenizer = Tokenizer.load(local_copy(config.data.tokenizer))
        else:
            tokenizer = _common_tokenizer(directories)
    if resumed and config.data.tokenizer:
        _check_same(tokenizer, config.data.tokenizer, resumed)
    known = config.model.text.vocab_size
    if tokenizer.vocab_size > known:
        raise ConfigError(
            f"config.model.text.vocab_size={known}: the tokenizer has {tokenizer.vocab_size} "
            "tokens; set it to that or more, or name the tokenizer that belongs to the weights in "
            "config.data.tokenizer"
        )
    return tokenizer


def _common_tokenizer(directories: Sequence[Path]) -> Tokenizer:
    """Opens the tokenizer that all data sets have.

    Raises:
      ConfigError: They have different ones, as a build trains one on its own class texts.
    """
    paths = [shards.dataset_dir(directory) / shards.TOKENIZER for directory in directories]
    first, *others = map(Tokenizer.load, paths)
    for path, other in zip(paths[1:], others, strict=True):
        if (text := first.difference(other)) is not None:
            raise ConfigError(
                "config.data.tokenizer is empty, and the data sets of config.data.dir have different "
                f"tokenizers ({paths[0]} and {path} turn {text!r} into different tokens); choose one for all "
                f"of them, such as {to_paste(f'--config.data.tokenizer={paths[0]}')}"
            )
    return first


def _check_same(tokenizer: Tokenizer, given: str, workdir: Path) -> None:
    """Checks that the tokenizer given on the command line is the one that the run has used so far.

    A hub repository or an address that the run was started with isn't loaded again, so that a run resumes
    without a network.

    Raises:
      ConfigError: It is another one, or can't be loaded.
    """
    elsewhere = address_of(given) is not None or not local_path(given).exists()
    if elsewhere and given == _started_with(workdir):
        return
    with naming("data.tokenizer"):
        different = tokenizer.difference(Tokenizer.load(local_copy(given)))
    if different is not None:
        raise ConfigError(
            f"config.data.tokenizer={given}: it turns {different!r} into other tokens than "
            f"{workdir / 'tokenizer.json'}, with which this run was trained so far. Leave it out to go on with "
            "that one, or name another --workdir to start anew"
        )


def _started_with(workdir: Path) -> str:
    try:
        config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
        return config["data"]["tokenizer"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
