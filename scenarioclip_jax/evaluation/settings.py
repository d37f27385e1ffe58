"""`Settings`: the settings that all suites share."""

import dataclasses

from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.stored.labels import normalize_label


@dataclasses.dataclass(frozen=True)
class ProbeSettings:
    """The linear probe's sweep: every rate with every decay; the best epoch of the best pair is used."""

    rates: tuple[float, ...] = (1e-3, 1e-2)
    decays: tuple[float, ...] = (0.0, 1e-2)
    epochs: int = 10
    batch_size: int = 256

    def __post_init__(self):
        if not self.rates or not all(rate > 0 for rate in self.rates):
            raise ValueError(f"probe.rates={self.rates}: must be numbers above 0")
        if not self.decays or not all(decay >= 0 for decay in self.decays):
            raise ValueError(f"probe.decays={self.decays}: must be numbers of at least 0")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"probe.{name}={getattr(self, name)}: must be at least 1")


MATCHING = ("pan_seg", "bbox")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the suites.

    Attributes:
      levels: Levels that score a caption; with several, the largest cosine counts.
      relation_levels: Levels that score focused regions and triplets (predicate classification), likewise.
      object_levels: Levels that score boxes and names (detection), likewise.
      prompt: Template whose braces are replaced by the class text; "{}" is the published protocol.
      seed: Seed of the linear probe.
      matching: Rule by which a predicted triplet of predcls matches a true one: `pan_seg`, it has the very same
        objects; or `bbox`, its labels are equal and each of its boxes overlaps the true one by half (IoU).
      templates: Prompts of `imagenet`, whose embeddings are averaged; none: `prompt`.
      clean_names: Whether predcls drops PSG's suffixes -merged, -other and -stuff from class names.

    Raises:
      ValueError: A value makes no sense. The message names it.
    """

    levels: tuple[str, ...] = ("global",)
    relation_levels: tuple[str, ...] = ("relation",)
    object_levels: tuple[str, ...] = ("object",)
    prompt: str = "{}"
    seed: int = 0
    probe: ProbeSettings = ProbeSettings()
    matching: str = "pan_seg"
    clean_names: bool = False
    templates: tuple[str, ...] = ()

    def __post_init__(self):
        if self.matching not in MATCHING:
            raise ValueError(f"matching={self.matching!r}: must be one of {', '.join(MATCHING)}")
        for name in ("levels", "relation_levels", "object_levels"):
            levels = getattr(self, name)
            if not levels or not set(levels) <= set(LEVELS) or len(set(levels)) < len(levels):
                raise ValueError(
                    f"{name}={levels!r}: must be one or several of {', '.join(LEVELS)}, each once"
                )
        for name, prompt in [("prompt", self.prompt), *(("templates", t) for t in self.templates)]:
            if prompt.count("{}") != 1:
                raise ValueError(f"{name}={prompt!r}: must hold {{}} once, where the text goes")

    def prompted(self, texts) -> list[str]:
        """The prompt with each text in it; the prompt in the form that texts have in training."""
        prompt = normalize_label(self.prompt)
        return [prompt.replace("{}", text) for text in texts]


def name_of(levels: tuple[str, ...]) -> str:
    """The name of the scoring levels in a report: `global`, `max(global, relation)`."""
    return levels[0] if len(levels) == 1 else f"max({', '.join(levels)})"
