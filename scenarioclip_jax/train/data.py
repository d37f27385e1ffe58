"""The data of a run: its splits, class texts and tokenizer, from shards or from the embedded scenes."""

from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from scenarioclip_jax.data import shards
from scenarioclip_jax.data.build import ensure_embedded
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.tokens import Tokenizer, train_tokenizer
from scenarioclip_jax.train.config import ConfigError, data_settings, naming

EMBEDDED = Path("data/embedded")  # where the embedded scenes are built, below the working directory


class RunData(NamedTuple):
    directory: Path
    train: shards.SceneSource
    validation: shards.SceneSource | None  # None where so few photos were built that it got none
    test: shards.SceneSource | None
    classes: dict[str, list[str]]  # actions, objects, relations
    tokenizer: Tokenizer
    settings: DataSettings


def open_data(config: ConfigDict, workdir: Path) -> RunData:
    """Opens what `config.data` names; builds the embedded scenes if it names nothing.

    Raises:
      ConfigError: there is no data set, no tokenizer, or the tokenizer doesn't fit the text tower.
    """
    directory = Path(config.data.dir).expanduser() if config.data.dir else EMBEDDED
    if not config.data.dir:
        ensure_embedded(directory, config.embedded.num_scenes, config.embedded.seed)
    with naming("data.dir"):
        train = shards.open_split(directory, "train")
        summary = shards.load_summary(directory)
        classes = shards.load_classes(directory)
    splits = {name: _maybe(directory, name) for name in ("validation", "test")}
    tokenizer = _tokenizer(config, directory, workdir, classes)
    settings = data_settings(config, focus_images=summary["has_focus_images"])
    return RunData(
        directory, train, **splits, classes=classes, tokenizer=tokenizer, settings=settings
    )


def _maybe(directory: Path, split: str) -> shards.SceneSource | None:
    try:
        return shards.open_split(directory, split)
    except shards.DataSetError:
        return None


def _tokenizer(config: ConfigDict, directory: Path, workdir: Path, classes: dict) -> Tokenizer:
    """The tokenizer that a resumed run already used, else the configured one, else the data set's own."""
    kept, own = workdir / "tokenizer.json", directory / "tokenizer.json"
    with naming("data.tokenizer"):
        if kept.is_file():
            tokenizer = Tokenizer.load(kept)
        elif config.data.tokenizer:
            tokenizer = Tokenizer.load(config.data.tokenizer)
        else:
            if not own.is_file():
                texts = [text for kind in sorted(classes) for text in classes[kind]]
                train_tokenizer(texts, own, vocab_size=512)
            tokenizer = Tokenizer.load(own)
    text = config.model.text
    if tokenizer.vocab_size > text.vocab_size:
        raise ConfigError(
            f"config.model.text.vocab_size={text.vocab_size}: the tokenizer has {tokenizer.vocab_size} "
            "tokens; set it to that or more, or name the tokenizer that belongs to the weights in "
            "config.data.tokenizer"
        )
    if text.eos_id == -1:
        text.eos_id = tokenizer.eos_id
    elif text.eos_id != tokenizer.eos_id:
        raise ConfigError(
            f"config.model.text.eos_id={text.eos_id}: the tokenizer ends texts with {tokenizer.eos_id}, "
            "and the text tower pools at the end of text; set it to that, or to -1"
        )
    if not kept.is_file():
        workdir.mkdir(parents=True, exist_ok=True)
        tokenizer.save(kept)
    return tokenizer
