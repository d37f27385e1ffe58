"""The data of a run: its splits, class texts and tokenizer, from shards or from the demo's drawn scenes."""

import json
from pathlib import Path
from typing import NamedTuple

from scenarioclip_jax.checkpoint import steps
from scenarioclip_jax.command import Config, ConfigError, naming
from scenarioclip_jax.data.build.dataset import default_embedded
from scenarioclip_jax.data.corrupt import CorruptDataError
from scenarioclip_jax.data.pipeline import TrainIterator
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.remote import local_data
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.parallel.distributed import union
from scenarioclip_jax.paths import address_of, local_path
from scenarioclip_jax.storage.cache import local_copy
from scenarioclip_jax.train.config import data_settings


class TooCorruptError(CorruptDataError):
    """Too many records are corrupt; all processes know it and are at the same step."""


class RunData(NamedTuple):
    directory: Path
    train: shards.SceneSource
    validation: shards.SceneSource | None  # None if too few photos were built to give it any
    test: shards.SceneSource | None
    classes: dict[str, list[str]]  # actions, objects, relations
    tokenizer: Tokenizer
    settings: DataSettings


def open_data(config: Config, workdir: Path | None = None) -> RunData:
    """Opens the data set that `config.data` names; draws the demo's scenes if it names none.

    Args:
      workdir: The run's folder. A run that resumes from a checkpoint uses the tokenizer stored there.

    Raises:
      ConfigError: There is no data set or no tokenizer, or the tokenizer doesn't fit the text tower.
      DataSetError: The data set is damaged.
    """
    if config.data.dir:
        with naming("data.dir"):
            directory = local_data(config.data.dir)
    else:
        with naming("demo_data"):
            directory = default_embedded(**config.demo_data)
    with naming("data.dir"):
        summary = shards.load_summary(directory)
        classes = shards.load_classes(directory)
        train, validation, test = (_open(directory, split, summary) for split in shards.SPLITS)
        if train is None:
            raise ConfigError(f"config.data.dir={directory}: its training split holds no scene")
    return RunData(
        directory,
        train,
        validation,
        test,
        classes=classes,
        tokenizer=_tokenizer(config, directory, workdir),
        settings=data_settings(config, focus_images=summary["has_focus_images"]),
    )


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
    print(f"{directory} has no {split} split, so what needs it is left out")
    return None


def _tokenizer(config: Config, directory: Path, workdir: Path | None) -> Tokenizer:
    """Opens the tokenizer that a resumed run already used, else the configured one, else the data set's."""
    source = shards.dataset_dir(directory) / shards.TOKENIZER
    if config.data.tokenizer:
        source = local_copy(config.data.tokenizer)
    resumed = workdir if workdir is not None and steps(workdir) else None
    with naming("data.tokenizer"):
        tokenizer = Tokenizer.load(resumed / "tokenizer.json" if resumed else source)
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
