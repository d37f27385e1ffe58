"""Plans an evaluation: suites, settings and files, checked before anything slow starts."""

import jax
from ml_collections import ConfigDict

from scenarioclip_jax.checkpoint import WEIGHTS
from scenarioclip_jax.command import ConfigError, listed
from scenarioclip_jax.data.settings import as_level
from scenarioclip_jax.evaluation.files import Files
from scenarioclip_jax.evaluation.run_data import choose
from scenarioclip_jax.evaluation.seen import CHOICES as SEEN
from scenarioclip_jax.evaluation.settings import ProbeSettings, Settings
from scenarioclip_jax.evaluation.suites.registry import DEFAULT, registered
from scenarioclip_jax.storage.cache import local_copy

IN_DOMAIN = {name: suite for name, suite in registered().items() if suite.read is None}
ON_FILES = {name: suite for name, suite in registered().items() if suite.read is not None}
TEXT_LENGTHS = ("trained", "longest")


def chosen_suites(config: ConfigDict) -> list[str]:
    """Returns `config.suites`, even if given as `a,b`; raises ConfigError for an unknown one."""
    names = listed(config.suites)
    known = [*IN_DOMAIN, *ON_FILES]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"{unknown[0]!r} is no suite" if unknown else "none is chosen"
        raise ConfigError(f"config.suites: {what}; there are {', '.join(known)}")
    return names


def suites_are_named(config: ConfigDict) -> bool:
    """Whether `config.suites` was set; a suite that the data doesn't support is then an error."""
    return set(config.suites) != set(DEFAULT)


def check(config: ConfigDict, suites: list[str]) -> Settings:
    """Refuses a config that can't be run, before anything slow starts.

    Raises:
      ConfigError: A value isn't allowed. The message names the key and what is allowed.
    """
    if jax.process_count() > 1:
        raise ConfigError(
            "evaluation runs in one process, on all devices that it sees; start it without --multihost"
        )
    if not config.checkpoint:
        raise ConfigError(
            "config.checkpoint is empty: name a training run's workdir, a converted checkpoint, or a "
            "CLIP folder"
        )
    weights = listed(config.weights)
    if not weights or not set(weights) <= set(WEIGHTS):
        raise ConfigError(f"config.weights={config.weights!r}: must be among {', '.join(WEIGHTS)}")
    for key in ("batch_size", "num_threads", "bootstrap"):
        if config[key] < 1:
            raise ConfigError(f"config.{key}={config[key]}: must be at least 1")
    if config.seen_images not in SEEN:
        raise ConfigError(
            f"config.seen_images={config.seen_images!r}: must be one of {', '.join(SEEN)}"
        )
    if config.data.scenes < 0:
        raise ConfigError(f"config.data.scenes={config.data.scenes}: must be 0 (all) or more")
    if config.text_length not in TEXT_LENGTHS:
        raise ConfigError(
            f"config.text_length={config.text_length!r}: must be one of {', '.join(TEXT_LENGTHS)}"
        )
    settings = _settings(config)
    for suite in suites:
        if suite in ON_FILES:
            files_of(config, suite)
    if set(suites) & set(IN_DOMAIN):
        choose(config)
    return settings


def _settings(config: ConfigDict) -> Settings:
    shared = {name: config[name] for name in ("prompt", "seed")}
    shared |= {
        name: tuple(map(as_level, listed(config[name])))
        for name in ("levels", "relation_levels", "object_levels")
    }
    shared["templates"] = _templates(config.imagenet.templates)
    predcls_only = {name: config.predcls[name] for name in ("matching", "clean_names")}
    try:
        probe = ProbeSettings(**config.probe.to_dict())
        Settings(probe=probe, **shared)
    except ValueError as error:
        raise ConfigError(f"config.{error}") from error
    try:
        return Settings(probe=probe, **shared, **predcls_only)
    except ValueError as error:
        raise ConfigError(f"config.predcls.{error}") from error


def _templates(given: str) -> tuple[str, ...]:
    """The prompts of a file, one in each line; empty lines are skipped."""
    if not given:
        return ()
    path = local_copy(given)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise ConfigError(f"config.imagenet.templates={given!r} can't be read: {error}") from None
    found = tuple(line.strip() for line in lines if line.strip())
    if wrong := [line for line in found if line.count("{}") != 1]:
        raise ConfigError(
            f"config.imagenet.templates={given!r}: {wrong[0]!r} must hold {{}} once, where the class goes"
        )
    return found


def files_of(config: ConfigDict, suite: str) -> Files:
    """Finds a suite's files; raises ConfigError if they don't exist."""
    given = config[suite]
    kind = ON_FILES[suite].path
    if not given.path:
        raise ConfigError(
            f"config.{suite}.path is empty: name the {kind} with {ON_FILES[suite].files}"
        )
    path = local_copy(given.path)
    if not path.exists():
        raise ConfigError(f"config.{suite}.path={given.path!r}: no such {kind}")
    if kind == "folder" and not path.is_dir():
        raise ConfigError(
            f"config.{suite}.path={given.path!r}: a file; name the folder that it is in"
        )
    if kind == "file" and path.is_dir():
        raise ConfigError(f"config.{suite}.path={given.path!r}: a folder; name the file in it")
    images = ()
    if given.images:
        images = (local_copy(given.images),)
        if not images[0].is_dir():
            raise ConfigError(f"config.{suite}.images={given.images!r}: no such folder")
    beside = path if path.is_dir() else path.parent
    proposals = given.get("proposals", "")
    return Files(
        path,
        images or (beside, beside / "images"),
        config.skip_missing,
        suite,
        config.num_threads,
        local_copy(proposals) if proposals else None,
    )
