"""What requests look like."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Level = Literal["global", "object", "relation"]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Box = Annotated[list[float], Field(min_length=4, max_length=4)]
Pair = Annotated[list[Box], Field(min_length=2, max_length=2)]
Boxes = Annotated[list[Box], Field(max_length=100)]
Texts = Annotated[list[Text], Field(max_length=1000)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WordLists(_Asked):
    """The words to choose from."""

    actions: Texts = []
    objects: Texts = []
    predicates: Texts = []


class DescribeRequest(_Asked):
    """A photo to describe."""

    photo: str = Field(description="base64 of an image file")
    boxes: Boxes = Field([], description="x0, y0, x1, y1 in pixels of the upright photo")
    words: WordLists | None = Field(None, description="instead of the service's words")
    model: str | None = Field(None, description="one of the models of /health; else the first")


class EmbedRequest(_Asked):
    """Texts at a level; or one photo: the whole, its objects in boxes, or relations between pairs of boxes."""

    texts: Texts = []
    level: Level = "global"
    photo: str | None = Field(None, description="base64 of an image file")
    boxes: Boxes = []
    pairs: Annotated[list[Pair], Field(max_length=200)] = []


class PartRequest(_Asked):
    """What photos should show, or shouldn't: a text, or what a photo shows, as a whole or at a place."""

    text: Text | None = None
    level: Level | None = Field(None, description="of the text; else where it fits best")
    photo: str | None = Field(None, description="base64 of an image file")
    boxes: Annotated[list[Box], Field(max_length=2)] = Field(
        [], description="one for an object of the photo, two for a relation"
    )
    wanted: bool = True


class SearchRequest(_Asked):
    """A query in the album."""

    parts: list[PartRequest] = Field(min_length=1, max_length=20)
    count: int = Field(20, ge=1, le=200)
