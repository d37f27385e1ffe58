"""The stage `negatives`: texts that are false of each relation, and others that are true of it."""

from collections.abc import Iterable, Iterator

from scenarioclip_jax.annotate.models.detections import Box
from scenarioclip_jax.annotate.settings import NegativeSettings, Settings
from scenarioclip_jax.annotate.stage import Done, Output, Stage, Task
from scenarioclip_jax.annotate.stages.caption import caption_of
from scenarioclip_jax.annotate.stages.detect import detections_of
from scenarioclip_jax.data.stored.scene import Triplet
from scenarioclip_jax.words.names import read_name
from scenarioclip_jax.words.negatives import negatives, paraphrases
from scenarioclip_jax.words.predicates import normalize
from scenarioclip_jax.words.published_negatives import published_negatives


def _run(tasks: Iterable[Task], settings: Settings) -> Iterator[Done]:
    for task in tasks:
        yield Done(task.photo.id, _output(task, settings.negatives))


def _output(task: Task, settings: NegativeSettings) -> Output:
    regions, boxes = task.read("regions"), detections_of(task.read("detect"))
    names = [each["name"] for each in regions["objects"]]
    places: list[Box | None] = [boxes[each["box"]].box for each in regions["objects"]]
    graph = [(r["subject"], r["predicate"], r["object"]) for r in regions["relations"]]
    triplets = [(names[s], p, names[o]) for s, p, o in graph]
    if settings.method == "published":
        objects = caption_of(task.read("caption")).objects
        shared = published_negatives(triplets, objects, id=task.photo.id, seed=settings.seed)
        texts = [[*each.triplet, each.kind] for each in shared]
        return {"relations": [{"negatives": texts, "paraphrases": []} for _ in graph]}
    caption = caption_of(task.read("caption"))
    # What was named but not found is in the photo, too, and a triplet without boxes is as true as others.
    found = {read_name(name).noun for name in names}
    unplaced = [name for name in caption.objects if read_name(name).noun not in found]
    said = {_meaning(triplet) for triplet in caption.relations}
    known = [*names, *unplaced]
    all_places = [*places, *(None for _ in unplaced)]
    relations = []
    for position, (relation, triplet) in enumerate(zip(graph, triplets, strict=True)):
        false = negatives(
            relation,
            known,
            all_places,
            graph,
            task.photo.size,
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
    return read_name(subject).noun, normalize(predicate), read_name(object_).noun


NEGATIVES = Stage(
    "negatives", 1, "texts that are false of each relation, and others that are true", _run
)
