"""The stage `verify`, off by default: a language model sees the photo and judges the texts of `negatives`.

A text stays only if the model confirms it: a negative that it calls false, a paraphrase that it calls true. The
rest is left out and counted, by kind and verdict. What it isn't sure of or doesn't judge goes as well, unless
`verify.unsure` is "keep".
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scenarioclip_jax.annotate.models.prompts import verify_prompt
from scenarioclip_jax.annotate.models.protocols import Verifier
from scenarioclip_jax.annotate.results import Failure, Photo, Verdict
from scenarioclip_jax.annotate.settings import Settings, VerifySettings
from scenarioclip_jax.annotate.stage import Done, Output, Stage, Task
from scenarioclip_jax.data.stored.scene import Triplet


def verdicts_of(output: Output) -> dict[Triplet, Verdict]:
    """What was asked and answered, from an output of this stage."""
    return {(s, p, o): verdict for s, p, o, verdict in output["asked"]}


def _verifier(settings: Settings) -> Verifier:
    # Imported here, because they import PyTorch or a client of servers.
    if settings.of_truth("verify"):
        from scenarioclip_jax.annotate.models.truth import Truth

        return Truth(settings.truth)
    own, section = settings.verifier(), "verify" if settings.verify.model else "caption"
    if own.endpoints:
        from scenarioclip_jax.annotate.models.server import ServerCaptioner

        return ServerCaptioner(own, section=section)
    from scenarioclip_jax.annotate.models.local_captioner import LocalCaptioner

    return LocalCaptioner(own)


def _run(tasks: Iterable[Task], settings: Settings) -> Iterator[Done]:
    relations: dict[str, list[dict[str, Any]]] = {}

    def requests() -> Iterator[tuple[Photo, list[Triplet]]]:
        for task in tasks:
            id = task.photo.id
            relations[id] = task.read("negatives")["relations"]
            yield task.photo, _texts(id, relations[id])

    for answer in _verifier(settings).verify(requests(), settings.verify):
        own, result = relations.pop(answer.id), answer.result
        if not isinstance(result, Failure):
            verdicts = dict(zip(_texts(answer.id, own), result, strict=True))
            result = _output(own, verdicts, settings.verify)
        yield Done(answer.id, result, answer.cost)


def _texts(id: str, relations: list[dict[str, Any]]) -> list[Triplet]:
    """All texts of a photo, each once, in an order that doesn't tell which are meant to be true."""
    texts = [
        (text[0], text[1], text[2])
        for relation in relations
        for text in (*relation["negatives"], *relation["paraphrases"])
    ]
    return sorted(
        dict.fromkeys(texts), key=lambda text: hashlib.sha256(repr((id, text)).encode()).digest()
    )


def _output(
    relations: list[dict[str, Any]], verdicts: Mapping[Triplet, Verdict], settings: VerifySettings
) -> Output:
    """The texts that stay, by relation; what was asked and answered; filter and detail of what is left out."""
    kept, removed = [], []

    def stays(text: list[str], wanted: Verdict, name: str) -> bool:
        verdict = verdicts[text[0], text[1], text[2]]
        is_doubtful = verdict in ("unsure", "unanswered")
        if verdict == wanted or (is_doubtful and settings.unsure == "keep"):
            return True
        removed.append([f"{name}_{verdict}", " ".join(text[:3])])
        return False

    for relation in relations:
        negatives = [
            text for text in relation["negatives"] if stays(text, "false", f"negative_{text[3]}")
        ]
        paraphrases = [
            text for text in relation["paraphrases"] if stays(text, "true", "paraphrase")
        ]
        kept.append({"negatives": negatives, "paraphrases": paraphrases})
    asked = [[*text, verdict] for text, verdict in verdicts.items()]
    return {"relations": kept, "asked": asked, "removed": removed}


def _weights(settings: Settings) -> str:
    if settings.of_truth("verify") or settings.verifier().endpoints:
        return ""
    return "verify" if settings.verify.model else "caption"


@dataclasses.dataclass(frozen=True)
class _Asked(VerifySettings):
    """Settings with those of `caption` that hold here, too."""

    max_tokens: int = 0
    max_side: int = 0


def _resolved(settings: Settings) -> _Asked:
    """With the model that is asked, and the prompt: another default prompt gives other verdicts, too."""
    model = settings.verifier()
    return dataclasses.replace(
        _Asked(**dataclasses.asdict(settings.verify)),
        model=model.model,
        revision=model.revision,
        prompt=verify_prompt(settings.verify),
        max_tokens=model.max_tokens,
        max_side=model.max_side,
    )


VERIFY = Stage(
    "verify",
    1,
    "a language model judges the negatives and paraphrases",
    _run,
    _weights,
    _resolved,
    lambda settings: settings.verify.enabled,
)
