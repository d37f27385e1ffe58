"""What a photo is found to show."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.files import json_text

if TYPE_CHECKING:
    import networkx


class Scored(NamedTuple):
    """A text with its share among all texts of its kind, from 0 to 1."""

    text: str
    score: float


@dataclass(frozen=True)
class FoundObject:
    """An object.

    Attributes:
      name: Its name: the best of `names`, or the one that was given.
      score: The share of that name, 1 if it was given.
      box: x0, y0, x1, y1 in pixels of the upright photo.
      names: The best names with their shares, the best first.
      seen: The share of the box that the model sees. If it sees nothing, the object has no name (unless it was
        given) and no relation.
    """

    name: str
    score: float
    box: tuple[float, float, float, float]
    names: tuple[Scored, ...]
    seen: float = 1.0


@dataclass(frozen=True)
class FoundRelation:
    """A relation.

    Attributes:
      subject, object: Indices of the objects.
      predicate: What the one is to the other.
      score: The share of this predicate and direction among all for these two, times the scores of both names.
    """

    subject: int
    predicate: str
    object: int
    score: float


@dataclass(frozen=True)
class SceneGraph:
    """A photo's actions, objects and relations, each kind in the order of its scores but for objects.

    Attributes:
      size: Width and height of the upright photo, in pixels.
      actions: What happens in the whole photo.
      objects: One for each box, in the order in which boxes were given.
      relations: Between two objects.
      photo: The upright photo.
    """

    size: tuple[int, int]
    actions: tuple[Scored, ...]
    objects: tuple[FoundObject, ...]
    relations: tuple[FoundRelation, ...]
    photo: Image.Image = field(repr=False, compare=False)

    def text(self, relation: FoundRelation) -> str:
        """A relation in words, such as "man riding horse"."""
        ends = self.objects[relation.subject].name, self.objects[relation.object].name
        return relation_text((ends[0], relation.predicate, ends[1]))

    def __str__(self) -> str:
        lines = [f"{each.score:6.1%}  {each.text}" for each in self.actions]
        for index, each in enumerate(self.objects):
            where = ", ".join(f"{value:g}" for value in each.box)
            part = "" if each.seen > 0.995 else f"  {each.seen:.0%} in the model's view"
            lines.append(f"{each.score:6.1%}  {index}: {each.name}  [{where}]{part}")
        lines += [
            f"{each.score:6.1%}  {self.text(each)}  ({each.subject}, {each.object})"
            for each in self.relations
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Lists and numbers only; `relations` also have their text."""
        return {
            "size": list(self.size),
            "actions": [each._asdict() for each in self.actions],
            "objects": [
                asdict(each)
                | {"box": list(each.box), "names": [name._asdict() for name in each.names]}
                for each in self.objects
            ],
            "relations": [asdict(each) | {"text": self.text(each)} for each in self.relations],
        }

    def to_json(self, **options: Any) -> str:
        """The same as JSON, with null for scores that are NaN; `options` are those of `json.dumps`."""
        return json_text(self.to_dict(), **{"ensure_ascii": False, **options})

    def to_networkx(self) -> "networkx.MultiDiGraph":
        """A graph with objects as nodes (their indices) and relations as edges.

        All attributes are texts or numbers, so that any format of networkx can hold them: those of a node are
        `name`, `score`, `seen` and the box's corners `x0`, `y0`, `x1`, `y1`, those of an edge `predicate` and
        `score`, and those of the graph `width`, `height` and, for the actions from the best on, `action_0`,
        `action_0_score`, and so on.

        Raises:
          ImportError: networkx isn't installed.
        """
        try:
            import networkx
        except ImportError:
            raise ImportError("to_networkx needs networkx: pip install networkx") from None
        graph = networkx.MultiDiGraph(width=self.size[0], height=self.size[1])
        for index, each in enumerate(self.actions):
            graph.graph |= {f"action_{index}": each.text, f"action_{index}_score": each.score}
        for index, each in enumerate(self.objects):
            corners = dict(zip(("x0", "y0", "x1", "y1"), each.box, strict=True))
            graph.add_node(index, name=each.name, score=each.score, seen=each.seen, **corners)
        for each in self.relations:
            graph.add_edge(each.subject, each.object, predicate=each.predicate, score=each.score)
        return graph

    def draw(self, path: str | Path | None = None, *, relations: int = 10) -> Image.Image:
        """Draws boxes with names and arrows with predicates on the photo, and lists everything beside it.

        Args:
          path: File to write, if any; its suffix gives the format.
          relations: How many of the best relations are drawn.

        Raises:
          ValueError: Pictures with that suffix can't be written, or `relations` is negative.
          ImportError: matplotlib isn't installed.
        """
        try:
            import matplotlib  # noqa: F401  a folder for PyTorch may lie where it isn't
        except ImportError:
            raise ImportError("draw needs matplotlib: pip install matplotlib") from None
        from scenarioclip_jax.describe.picture import draw, write  # matplotlib is slow to import

        picture = draw(self, relations)
        if path is not None:
            write(picture, Path(path))
        return picture


def best(texts: Sequence[str], scores: Sequence[float], most: int) -> tuple[Scored, ...]:
    """The texts with the highest scores, the best first; of equal ones the first."""
    order = sorted(range(len(texts)), key=lambda index: -scores[index])
    return tuple(Scored(texts[index], float(scores[index])) for index in order[:most])
