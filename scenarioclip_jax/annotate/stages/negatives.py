"""The stage `negatives`: texts that are false of each relation, and others that are true of it."""

from collections.abc import Callable, Iterable, Iterator

from scenarioclip_jax.annotate.models.detections import Box
from scenarioclip_jax.annotate.settings import NegativeSettings, Settings
from scenarioclip_jax.annotate.stage import Done, Output, Stage, Task
from scenarioclip_jax.annotate.stages.caption import caption_of
from scenarioclip_jax.annotate.stages.detect import detections_of
from scenarioclip_jax.data.stored.scene import Triplet
from scenarioclip_jax.words.facts import Facts
from scenarioclip_jax.words.names import read_name
from scenarioclip_jax.words.negatives import negatives, paraphrases
from scenarioclip_jax.words.predicates import normalize_predicate
from scenarioclip_jax.words.published_negatives import published_negatives


def _run(tasks: Iterable[Task], settings: Settings) -> Iterator[Done]:
    for task in tasks:
        yield Done(task.photo.id, _output(task, settings.negatives))


def facts_of(read: Callable[[str], Output], size: tuple[int, int]) -> Facts:
    """What the outputs of the stages before this one say of a photo.

    Args:
      read: Reads the output of a stage by its name.
      size: Width and height of the photo, in pixels.
    """
    regions, boxes = read("regions"), detections_of(read("detect"))
    names = [each["name"] for each in regions["objects"]]
    places: list[Box | None] = [boxes[each["box"]].box for each in regions["objects"]]
    # What was named but not found is in the photo, too.
    found = {read_name(name).noun for name in names}
    objects = caption_of(read("caption")).objects
    unplaced = [name for name in objects if read_name(name).noun not in found]
    graph = [(r["subject"], r["predicate"], r["object"]) for r in regions["relations"]]
    return Facts([*names, *unplaced], [*places, *(None for _ in unplaced)], graph, size)


def _output(task: Task, settings: NegativeSettings) -> Output:
    facts, caption = facts_of(task.read, task.photo.size), caption_of(task.read("caption"))
    graph = facts.graph
    triplets = [(facts.objects[s], p, facts.objects[o]) for s, p, o in graph]
    if settings.method == "published":
        shared = published_negatives(
            triplets, caption.objects, id=task.photo.id, seed=settings.seed
        )
        texts = [[*each.triplet, each.kind] for each in shared]
        return {"relations": [{"negatives": texts, "paraphrases": []} for _ in graph]}
    # A triplet without boxes is as true as others.
    said = {_meaning(triplet) for triplet in caption.relations}
    relations = []
    for position, (relation, triplet) in enumerate(zip(graph, triplets, strict=True)):
        false = negatives(
            relation,
            facts.objects,
            facts.boxes,
            graph,
            facts.size,
            id=task.photo.id,
            position=position,
            count=settings.count,
            seed=settings.seed,
        )
        true = paraphrases(triplet, settings.paraphrases)
        relations.append(
            {
                "negatives": [
                    [*each.triplet, each.kind]
                    for each in false
                    if _meaning(each.triplet) not in said
                ],
                "paraphrases": [list(each) for each in true],
            }
        )
    return {"relations": relations}


def _meaning(triplet: Triplet) -> Triplet:
    subject, predicate, object_ = triplet
    return read_name(subject).noun, normalize_predicate(predicate), read_name(object_).noun


NEGATIVES = Stage(
    "negatives", 1, "texts that are false of each relation, and others that are true", _run
)
