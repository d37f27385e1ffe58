"""Chooses the data set that the in-domain suites score: the run's own, unless the config names another."""

import json
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.command import ConfigError, naming
from scenarioclip_jax.data.build.dataset import default_embedded
from scenarioclip_jax.data.stored.labels import VERSION
from scenarioclip_jax.data.stored.shards import DataSetError, dataset_dir, load_summary
from scenarioclip_jax.paths import local_path
from scenarioclip_jax.renamed import with_new_names

DEMO = {"num_scenes": 6000, "seed": 0}  # as in configs/pretrain.py, used if no run says otherwise


class Chosen(NamedTuple):
    """A data set.

    Attributes:
      directory: Folder of its shards; None for the drawn scenes, which may have to be drawn first.
      embedded: Arguments of `data.build.default_embedded`, if `directory` is None.
      why: Explanation of where the choice comes from.
      notes: Sentences about models that were trained on other data and about labels of an earlier version.
    """

    directory: Path | None
    embedded: dict[str, int]
    why: str = ""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the data set on the terminal and in the report."""
        if self.directory is not None:
            return str(self.directory)
        settings = ", ".join(f"{name} {value}" for name, value in self.embedded.items())
        return f"the embedded scenes ({settings})"

    def same(self, other: "Chosen") -> bool:
        if self.directory is None or other.directory is None:
            return self.directory is other.directory and self.embedded == other.embedded
        return self.directory.resolve() == other.directory.resolve()

    def open(self) -> Path:
        """Returns the folder of the shards; draws the demo's scenes if they don't exist."""
        if self.directory is not None:
            return self.directory
        with naming("demo_data"):
            return default_embedded(**self.embedded)


def recorded(checkpoint: str | Path) -> Chosen | None:
    """The data set that a model was trained on, from its `config.json`; None if it has none, as plain CLIP.

    Raises:
      CheckpointError: There is a `config.json` that isn't from a training run.
    """
    folder = local_path(checkpoint)
    path = folder / "config.json"
    # A folder in Hugging Face's format also has a config.json, which says nothing about data.
    if not path.is_file() or not (folder / "checkpoints").is_dir():
        return None
    return of_config(path)


def of_config(path: Path) -> Chosen:
    """The data set that a run's `config.json` names.

    Raises:
      CheckpointError: The file isn't the config of a training run.
      OSError: The file can't be read.
    """
    try:
        config = with_new_names(json.loads(path.read_text(encoding="utf-8")))
        directory, embedded = config["data"]["dir"], dict(config["demo_data"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no config of a training run ({error!r}); copy it again"
        ) from None
    return Chosen(local_path(directory) if directory else None, embedded)


def choose(config: ConfigDict) -> Chosen:
    """Chooses the data set to score: `config.data.dir`, `config.demo_data`, or the checkpoint's training data.

    Raises:
      ConfigError: It doesn't exist. The message names the folder and the key.
      CheckpointError: The run's config can't be understood.
    """
    own = recorded(config.checkpoint) if config.checkpoint else None
    given = {name: value for name, value in config.demo_data.items() if value is not None}
    if config.data.dir:
        chosen = Chosen(local_path(config.data.dir), {}, "config.data.dir")
        with naming("data.dir"):
            dataset_dir(chosen.directory)
    elif given:
        base = own.embedded if own and own.directory is None else DEMO
        chosen = Chosen(None, DEMO | base | given, "config.demo_data")
    elif own:
        chosen = own._replace(why=f"what {config.checkpoint} was trained on")
        _check_own(chosen, config.checkpoint)
    else:
        chosen = Chosen(None, dict(DEMO), f"{config.checkpoint} names no data of its own")
    return chosen._replace(notes=(*_differences(chosen, config, own), *_old_labels(chosen)))


def _old_labels(chosen: Chosen) -> list[str]:
    """Notes on a data set whose labels were written by an earlier version."""
    if chosen.directory is None or load_summary(chosen.directory).get("labels", 1) >= VERSION:
        return []
    return [
        f"{chosen.directory} was built when labels kept invisible characters and HTML entities, so that one "
        "class may be there in several spellings; to merge them, build it again"
    ]


def _check_own(chosen: Chosen, checkpoint: str) -> None:
    if chosen.directory is None:
        return
    try:
        dataset_dir(chosen.directory)
    except DataSetError:
        where = "" if chosen.directory.is_absolute() else f" (seen from {Path.cwd()})"
        raise ConfigError(
            f"{checkpoint} was trained on the data set in {chosen.directory}, which isn't there"
            f"{where}; say where it lies now with --config.data.dir=DIR"
        ) from None


def _differences(chosen: Chosen, config: ConfigDict, own: Chosen | None) -> list[str]:
    models = {config.checkpoint: own}
    if config.baseline:
        models[config.baseline] = recorded(config.baseline)
    return [
        f"{path} was trained on other data, {data.name}: its scores here are of data that it doesn't know"
        for path, data in models.items()
        if data is not None and not chosen.same(data)
    ]
