"""Settings of the pipeline: what annotate.yaml holds, by stage. The defaults suit one GPU of 24 GB.

A changed setting makes the records of its stage and of those after it stale, unless it is marked as one that
changes no result.
"""

from dataclasses import dataclass, field, replace
from typing import Any

STATEMENTS = "{statements}"  # where they belong in the prompt of `verify`


def _without_effect(default: Any) -> Any:
    """A setting that decides how fast results come, not which."""
    return field(default=default, metadata={"effect": False})


@dataclass(frozen=True)
class CaptionSettings:
    """The stage `caption`.

    Attributes:
      model: A model of Hugging Face that takes images and text, or what the server calls its model.
      revision: Its revision; by default the newest when it was first used.
      endpoints: Addresses of servers that speak OpenAI's protocol, such as http://localhost:8000/v1. Without
        any, the model runs in this process.
      key_variable: Environment variable with the servers' key, if they ask for one.
      prompt: What the model is asked; by default the text in `prompts.py`.
      max_objects, max_relations: Most objects and triplets that are asked for.
      max_tokens: Most tokens of an answer.
      max_side: Photos are made smaller to that many pixels.
      concurrent: Requests on their way to each server.
      timeout: Seconds that a request may take.
      batch: Photos at a time, in process.
      price_read, price_written: What a million tokens cost, for the sum that is shown.
    """

    model: str = "Qwen/Qwen3-VL-4B-Instruct"
    revision: str = ""
    endpoints: tuple[str, ...] = _without_effect(())
    key_variable: str = _without_effect("")
    prompt: str = ""
    max_objects: int = 10
    max_relations: int = 12
    max_tokens: int = 1024
    max_side: int = 768
    concurrent: int = _without_effect(16)
    timeout: float = _without_effect(120.0)
    batch: int = _without_effect(4)
    price_read: float = _without_effect(0.0)
    price_written: float = _without_effect(0.0)


@dataclass(frozen=True)
class DetectSettings:
    """The stage `detect`.

    Attributes:
      model: A zero-shot detector of Hugging Face.
      revision: Its revision; by default the newest when it was first used.
      threshold: Least score of a box.
      text_threshold: Least score of a word that belongs to a box, for models that have it (Grounding DINO).
      overlap: Intersection over union at which, of two boxes of one name, the one with the lower score goes.
      max_boxes: Most boxes of a name.
      batch: Photos at a time.
    """

    model: str = "IDEA-Research/grounding-dino-base"
    revision: str = ""
    threshold: float = 0.25
    text_threshold: float = 0.25
    overlap: float = 0.6
    max_boxes: int = 10
    batch: int = _without_effect(4)


@dataclass(frozen=True)
class SegmentSettings:
    """The stage `segment`.

    Attributes:
      model: A model of the families SAM, SAM 2 or SAM 3; empty for boxes without masks.
      revision: Its revision; by default the newest when it was first used.
      batch: Photos at a time.
    """

    model: str = "facebook/sam2.1-hiera-large"
    revision: str = ""
    batch: int = _without_effect(4)


@dataclass(frozen=True)
class RegionSettings:
    """The stage `regions`, which joins triplets with boxes.

    Attributes:
      nearness: Weight of how near two boxes are, against their scores, from 0 to 1.
    """

    nearness: float = 0.5


@dataclass(frozen=True)
class NegativeSettings:
    """The stage `negatives`.

    Attributes:
      count: Most negatives of a relation.
      paraphrases: Most paraphrases of a relation.
      method: "checked" for what is false as far as the graph and the boxes tell; "published" for what the
        authors' scripts draw.
      seed: Seed of what is drawn.
    """

    count: int = 6
    paraphrases: int = 2
    method: str = "checked"
    seed: int = 0


@dataclass(frozen=True)
class VerifySettings:
    """The stage `verify`, in which a language model checks the texts of `negatives`. It is off by default.

    Attributes:
      enabled: Whether it is done.
      model: Another model than that of `caption`, as there. It has its own `revision`, `endpoints`,
        `key_variable` and prices; all else is as in `caption`.
      revision: Its revision; by default the newest when it was first used.
      endpoints: Addresses of its servers. Without any, it runs in this process.
      key_variable: Environment variable with these servers' key, if they ask for one.
      prompt: What the model is asked, with {statements} where they belong; by default the text in
        `prompts.py`.
      statements: Most statements that are asked about at once.
      unsure: What becomes of a text that the model isn't sure of or doesn't judge: "drop" or "keep".
      price_read, price_written: What a million tokens of it cost, for the sum that is shown.
    """

    enabled: bool = _without_effect(False)
    model: str = ""
    revision: str = ""
    endpoints: tuple[str, ...] = _without_effect(())
    key_variable: str = _without_effect("")
    prompt: str = ""
    statements: int = 24
    unsure: str = "drop"
    price_read: float = _without_effect(0.0)
    price_written: float = _without_effect(0.0)


@dataclass(frozen=True)
class ValidateSettings:
    """The stage `validate`: what a scene has to have.

    Attributes:
      min_score: Least score of an object.
      min_area, max_area: Least and largest share of the photo that an object's box covers.
      max_aspect: Largest ratio of a box's sides.
      min_objects, min_relations: Fewer of them, and the scene is left out.
    """

    min_score: float = 0.3
    min_area: float = 0.0005
    max_area: float = 0.98
    max_aspect: float = 20.0
    min_objects: int = 1
    min_relations: int = 0


@dataclass(frozen=True)
class LabelSettings:
    """The table of `annotate labels`.

    Attributes:
      wordnet: What suggests synonyms and more general names of objects: the name of a lexicon of the package
        wn, such as oewn:2024 (`python -m wn download oewn:2024`), or a file in WN-LMF. By default nothing.
    """

    wordnet: str = ""


@dataclass(frozen=True)
class AssembleSettings:
    """The last step, `assemble`.

    Attributes:
      duplicates: What becomes of near-duplicate photos: "group" keeps them in one split, "drop" keeps the
        first of them, "keep" treats them as others.
      distance: Bits of 256 in which the perceptual hashes of near-duplicates differ at most.
      min_count: Labels that occur less often are left out, with the relations that need them.
      name, description, license: What the data set's card says of it; the license is an identifier of the
        Hugging Face hub, such as cc-by-4.0.
      examples: Pictures on the card.
    """

    duplicates: str = "group"
    distance: int = 10
    min_count: int = 1
    name: str = ""
    description: str = ""
    license: str = ""
    examples: int = 3


@dataclass(frozen=True)
class TruthSettings:
    """Annotations in place of the models, with errors that are set: for tests, and to measure the pipeline.

    If `verify` names a model, that one verifies.

    Attributes:
      folder: Folder of annotations in the format of docs/guides/format.md; empty for real models.
      missed: Share of the objects that the detector misses.
      shifted: Standard deviation of a box's corners, as a share of its sides.
      merged: Share of the names that the language model tells without their first word: "circle" of "red
        circle".
      wrong: Share of the triplets of which the language model swaps the ends.
      unnamed: Share of the objects that the language model leaves out, with their triplets.
      misjudged: Share of the texts of which the verifier says the opposite.
      unsure: Share of the texts of which the verifier isn't sure.
      seed: Seed of the errors.
    """

    folder: str = ""
    missed: float = 0.0
    shifted: float = 0.0
    merged: float = 0.0
    wrong: float = 0.0
    unnamed: float = 0.0
    misjudged: float = 0.0
    unsure: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Settings:
    """Settings of all stages.

    Attributes:
      attempts: How often a photo is tried in a stage.
    """

    caption: CaptionSettings = field(default_factory=CaptionSettings)
    detect: DetectSettings = field(default_factory=DetectSettings)
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    regions: RegionSettings = field(default_factory=RegionSettings)
    negatives: NegativeSettings = field(default_factory=NegativeSettings)
    verify: VerifySettings = field(default_factory=VerifySettings)
    validate: ValidateSettings = field(default_factory=ValidateSettings)
    labels: LabelSettings = field(default_factory=LabelSettings)
    assemble: AssembleSettings = field(default_factory=AssembleSettings)
    truth: TruthSettings = field(default_factory=TruthSettings)
    attempts: int = 3

    def of_truth(self, stage: str) -> bool:
        """Whether annotations stand in for the model of a stage."""
        if stage == "verify" and self.verify.model:
            return False
        return bool(self.truth.folder) and stage in ("caption", "detect", "segment", "verify")

    def verifier(self) -> CaptionSettings:
        """The language model of `verify`: that of `caption`, or the one that it names, asked likewise."""
        own = self.verify
        if not own.model:
            return self.caption
        return replace(
            self.caption,
            model=own.model,
            revision=own.revision,
            endpoints=own.endpoints,
            key_variable=own.key_variable,
            price_read=own.price_read,
            price_written=own.price_written,
        )
