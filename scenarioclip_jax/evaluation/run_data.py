"""Chooses the data sets that the in-domain suites score: the run's own, unless the config names others."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from scenarioclip_jax.checkpoint import CheckpointError, load_record, steps
from scenarioclip_jax.command import ConfigError, naming
from scenarioclip_jax.data.build.dataset import default_embedded
from scenarioclip_jax.data.mixture import parse
from scenarioclip_jax.data.source import identity_digest
from scenarioclip_jax.data.stored.labels import differences_from
from scenarioclip_jax.data.stored.remote import local_data
from scenarioclip_jax.data.stored.shards import (
    DataSetError,
    dataset_dir,
    load_summary,
    open_split,
)
from scenarioclip_jax.paths import address_of, local_path
from scenarioclip_jax.renamed import with_new_names
from scenarioclip_jax.storage.models import model_copy

# As in configs/pretrain.py, used if no run says otherwise.
DEMO = {"num_scenes": 6000, "seed": 0, "tier": "plain"}


class Chosen(NamedTuple):
    """A data set.

    Attributes:
      directory: Folder of its shards; None for the drawn scenes, which may have to be drawn first, and for an
        address that isn't copied yet.
      embedded: Arguments of `data.build.default_embedded`, for the drawn scenes.
      why: Explanation of where the choice comes from.
      notes: Sentences about models that were trained on other data and about labels of an earlier version.
      identity: Digest of its training split, see `data.source.identity_digest`: of the shards that lie in
        `directory` now, or of those that a run was trained on. Empty if it isn't known.
      part: Its name among the data sets of a mixture; empty for a single data set.
      address: Its address, if it lies in a bucket.
    """

    directory: Path | None
    embedded: dict[str, Any]
    why: str = ""
    notes: tuple[str, ...] = ()
    identity: str = ""
    part: str = ""
    address: str = ""

    @property
    def name(self) -> str:
        """The name of the data set on the terminal and in the report."""
        if not self.is_drawn:
            return self.address or str(self.directory)
        settings = ", ".join(f"{name} {value}" for name, value in self.embedded.items())
        return f"the embedded scenes ({settings})"

    @property
    def is_drawn(self) -> bool:
        return self.directory is None and not self.address

    def here(self) -> "Chosen":
        """Copies a data set in a bucket to this machine."""
        return self._replace(directory=local_data(self.address)) if self.address else self

    def same(self, other: "Chosen") -> bool:
        """Whether both are one data set. A folder may be built again, moved or copied, so identities decide."""
        if self.is_drawn and other.is_drawn:
            return self.embedded == other.embedded
        if self.identity and other.identity:
            return self.identity == other.identity
        return self.same_place(other)

    def same_place(self, other: "Chosen") -> bool:
        if self.address or other.address:
            return self.address == other.address
        if self.directory is None or other.directory is None:
            return False
        return self.directory.resolve() == other.directory.resolve()

    def open(self) -> Path:
        """Returns the folder of the shards; draws the demo's scenes if they don't exist."""
        if not self.is_drawn:
            return self.here().directory
        with naming("demo_data"):
            return default_embedded(**self.embedded)


def recorded(checkpoint: str | Path) -> tuple[Chosen, ...]:
    """The data sets that a model was trained on, from its `config.json`; none if it has none, as plain CLIP.

    Raises:
      CheckpointError: There is a `config.json` that isn't from a training run.
    """
    folder = model_copy(checkpoint)
    path = folder / "config.json"
    # A folder in Hugging Face's format also has a config.json, which says nothing about data.
    if not path.is_file() or not (folder / "checkpoints").is_dir():
        return ()
    return of_run(folder)


def of_run(folder: Path) -> tuple[Chosen, ...]:
    """The data sets that a run was trained on, with the digests that its checkpoints keep.

    Raises:
      CheckpointError: `config.json` isn't the config of a training run.
      OSError: It can't be read.
    """
    chosen = of_config(folder / "config.json")
    identities = identities_of_run(folder)
    if len(identities) != len(chosen):  # saved before this was noted
        identities = [""] * len(chosen)
    return tuple(
        each._replace(identity=identity) for each, identity in zip(chosen, identities, strict=True)
    )


def identities_of_run(folder: Path) -> list[str]:
    """The digests of the training splits that a run's checkpoints keep; empty if none does."""
    for step in reversed(steps(folder)):
        record = load_record(folder, step, "data")
        if parts := record.get("mixture"):
            return [part["source"] for part in parts]
        if found := record.get("source"):
            return [found]
    return []


def identity_now(directory: Path | None) -> str:
    """The digest of the training split in a folder; empty if it isn't there to be compared."""
    if directory is None:
        return ""
    try:
        return identity_digest(open_split(directory, "train"))
    except DataSetError:
        return ""


def of_config(path: Path) -> tuple[Chosen, ...]:
    """The data sets that a run's `config.json` names.

    Raises:
      CheckpointError: The file isn't the config of a training run.
      OSError: The file can't be read.
    """
    try:
        config = with_new_names(json.loads(path.read_text(encoding="utf-8")))
        text, embedded = config["data"]["dir"], DEMO | dict(config["demo_data"])
        entries = parse(text) if text else []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no config of a training run ({error!r}); copy it again"
        ) from None
    if not entries:
        return (Chosen(None, embedded),)
    return tuple(
        _place(entry.path)._replace(embedded=embedded, part=entry.name) for entry in entries
    )


def _place(path: str) -> Chosen:
    """A data set by its path or address, which isn't copied yet."""
    if address := address_of(path):
        return Chosen(None, {}, address=str(address))
    return Chosen(local_path(path), {})


def choose(config: ConfigDict) -> tuple[Chosen, ...]:
    """Chooses the data sets to score: `config.data.dir`, `config.demo_data`, or the checkpoint's training data.

    A mixture's weights mean nothing here: each of its data sets is scored by itself.

    Raises:
      ConfigError: One doesn't exist. The message names the folder and the key.
      CheckpointError: The run's config can't be understood.
    """
    own = recorded(config.checkpoint) if config.checkpoint else ()
    given = {name: value for name, value in config.demo_data.items() if value is not None}
    if config.data.dir:
        with naming("data.dir"):
            chosen = [
                _place(entry.path).here()._replace(why="config.data.dir", part=entry.name)
                for entry in parse(config.data.dir)
            ]
            for each in chosen:
                dataset_dir(each.directory)
    elif given:
        base = own[0].embedded if own and own[0].is_drawn else DEMO
        chosen = [Chosen(None, DEMO | base | given, "config.demo_data")]
    elif own:
        own = tuple(each.here() for each in own)
        for each in own:
            _check_own(each, config.checkpoint)
        chosen = [each._replace(why=_why_own(each, config.checkpoint)) for each in own]
    else:
        chosen = [Chosen(None, dict(DEMO), f"{config.checkpoint} names no data of its own")]
    chosen = [each._replace(identity=identity_now(each.directory)) for each in chosen]
    return tuple(
        each._replace(notes=(*_differences(each, config, own), *_old_labels(each)))
        for each in chosen
    )


def _why_own(own: Chosen, checkpoint: str) -> str:
    if own.is_drawn:
        return f"what {checkpoint} was trained on"
    now = identity_now(own.directory)
    if not (now and own.identity):
        return f"the folder that {checkpoint} names; nothing tells whether it was built again since"
    if now != own.identity:
        return f"the folder that {checkpoint} names, built again since"
    return f"what {checkpoint} was trained on"


def _old_labels(chosen: Chosen) -> list[str]:
    """Notes on a data set whose labels were written by an earlier version."""
    if chosen.directory is None:
        return []
    changed = differences_from(load_summary(chosen.directory).get("labels", 1))
    if not changed:
        return []
    return [
        f"{chosen.name} was built when {' and '.join(changed)}, so that one class may be there in several "
        "spellings; to merge them, build it again"
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


def _differences(chosen: Chosen, config: ConfigDict, own: Sequence[Chosen]) -> list[str]:
    models = {config.checkpoint: own}
    if config.baseline:
        models[config.baseline] = recorded(config.baseline)
    return [
        difference(path, trained, chosen)
        for path, trained in models.items()
        if trained and not any(chosen.same(each) for each in trained)
    ]


def difference(path: str, trained: Sequence[Chosen], scored: Chosen) -> str:
    """A sentence about a model that is scored on a data set that isn't among those that it was trained on."""
    for each in trained:
        if scored.same_place(each):
            return (
                f"{path} was trained on another data set that lay in {each.name}, which was built again "
                "since: what is in its test split now may be what the model was trained on. Score the data set "
                "of that time (config.data.dir), or train on this one"
            )
    names = " and ".join(each.name for each in trained)
    return f"{path} was trained on other data, {names}: its scores here are of data that it doesn't know"
