"""Config keys that had other names before: refused on the command line, understood in saved configs."""

from collections.abc import Mapping
from typing import Any

# Maps a key, or a section, to its current name.
RENAMED = {
    "data.groups": "data.packing_groups",
    "data.min_visible": "data.min_visible_pixels",
    "data.text_row": "data.text_row_tokens",
    "data.patch_row": "data.patch_row_views",
    "data.objects_per_scene": "data.levels.object.slots_per_scene",
    "data.relations_per_scene": "data.levels.relation.slots_per_scene",
    "data.scene_length": "data.levels.scene.text_length",
    "data.object_length": "data.levels.object.text_length",
    "data.relation_length": "data.levels.relation.text_length",
    "data.scene_tokens": "data.levels.scene.tokens_per_scene",
    "data.object_tokens": "data.levels.object.tokens_per_scene",
    "data.relation_tokens": "data.levels.relation.tokens_per_scene",
    "data.object_patches": "data.levels.object.patches_per_scene",
    "data.relation_patches": "data.levels.relation.patches_per_scene",
    "embedded": "demo_data",
    "ema.whole": "ema.keep",
    "optimizer.peak": "optimizer.learning_rate",
    "optimizer.rate_scale": "optimizer.learning_rate_scale",
    "optimizer.start_factor": "optimizer.warmup_start",
    "report.retrievals": "report.queries",
    "views.global_jitter": "views.jitter.scene",
    "views.object_jitter": "views.jitter.object",
    "views.relation_jitter": "views.jitter.relation",
}
# Values that are written differently now, by the old key.
_VALUES: Mapping[str, Mapping[Any, Any]] = {"ema.whole": {True: "all", False: "teacher"}}


def new_name(key: str) -> str | None:
    """The current name of a dotted key; None if the key wasn't renamed."""
    for old, new in RENAMED.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return None


def with_new_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a saved, nested config with current names. Missing and additional keys stay as they are."""

    def copied(value):
        return {k: copied(v) for k, v in value.items()} if isinstance(value, Mapping) else value

    config = copied(config)
    for old, new in RENAMED.items():
        *sections, name = old.split(".")
        holder = _section(config, sections)
        if not isinstance(holder, dict) or name not in holder:
            continue
        value = holder.pop(name)
        *sections, name = new.split(".")
        if old in _VALUES:
            value = _VALUES[old][value]
        _section(config, sections, make=True)[name] = value
    return config


def _section(config: dict, names: list[str], *, make: bool = False):
    """Returns a section of a nested config; None if there is none."""
    for name in names:
        if make:
            config = config.setdefault(name, {})
        elif not isinstance(config, dict) or name not in config:
            return None
        else:
            config = config[name]
    return config
