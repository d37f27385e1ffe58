"""The stage `caption`: a language model says what happens, what there is, and how it is related."""

import dataclasses
from collections.abc import Iterable, Iterator

from scenarioclip_jax.annotate.models.prompts import prompt
from scenarioclip_jax.annotate.models.protocols import Captioner
from scenarioclip_jax.annotate.results import Caption
from scenarioclip_jax.annotate.settings import Settings
from scenarioclip_jax.annotate.stage import Done, Output, Stage, Task


def caption_of(output: Output) -> Caption:
    """The caption of an output of this stage."""
    relations = tuple((s, p, o) for s, p, o in output["relations"])
    return Caption(output["action"], tuple(output["objects"]), relations, output["caption"])


def _captioner(settings: Settings) -> Captioner:
    # Imported here, because they import PyTorch or a client of servers.
    if settings.of_truth("caption"):
        from scenarioclip_jax.annotate.models.truth import Truth

        return Truth(settings.truth)
    if settings.caption.endpoints:
        from scenarioclip_jax.annotate.models.server import ServerCaptioner

        return ServerCaptioner(settings.caption)
    from scenarioclip_jax.annotate.models.local_captioner import LocalCaptioner

    return LocalCaptioner(settings.caption)


def _run(tasks: Iterable[Task], settings: Settings) -> Iterator[Done]:
    for answer in _captioner(settings).caption(task.photo for task in tasks):
        result = answer.result
        output = dataclasses.asdict(result) if isinstance(result, Caption) else result
        yield Done(answer.id, output, answer.cost)


CAPTION = Stage(
    "caption",
    1,
    "a language model names action, objects and relations",
    _run,
    lambda settings: (
        "" if settings.of_truth("caption") or settings.caption.endpoints else "caption"
    ),
    # Another default prompt makes other captions, too.
    lambda settings: dataclasses.replace(settings.caption, prompt=prompt(settings.caption)),
)
