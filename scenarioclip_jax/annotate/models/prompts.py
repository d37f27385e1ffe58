"""What a language model is asked of a photo, and the JSON schemas of its answers."""

from collections.abc import Sequence
from typing import Any

from scenarioclip_jax.annotate.results import Verdict
from scenarioclip_jax.annotate.settings import STATEMENTS, CaptionSettings, VerifySettings

PROMPT = """\
Describe this photo as one JSON object with these four keys:
- "caption": one or two sentences that say what the photo shows: who or what is there, where, and what happens.
- "action": what happens in the photo as a whole, in one to three words, verb first and ending in "ing". \
If nobody acts, name what the scene is about.
- "objects": at most {max_objects} names of the main things, people and animals that you see. Use short \
lower-case nouns in the singular, without adjectives. If several instances of one kind take part in \
different relations, number them: "person 1", "person 2".
- "relations": at most {max_relations} lists of three texts, [subject, predicate, object]. Subject and object \
are names from "objects". The predicate is a verb or a preposition in a few lower-case words that says how the \
subject acts on the object or where it is: "holding", "riding", "to the left of".
Name only what you can see; leave out what you would have to guess. Name the most important first, and don't \
repeat yourself. Answer with the JSON object alone."""

# What a model is to say, and what it means.
VERDICTS: dict[str, Verdict] = {"yes": "true", "no": "false", "unsure": "unsure"}
VERIFY_PROMPT = """\
Judge these statements about the photo. Each names a thing, how it acts or where it is, and another thing:
{statements}
Answer of each statement, by its number:
- "yes" if it is true of any of the things in the photo that it may mean;
- "no" if what it names isn't there, or isn't so;
- "unsure" if the photo doesn't show it.
Many of them are false. Judge each by what you see, not by what is usual. Left and right are those of somebody \
who looks at the photo. Answer with one JSON object alone that has every number, such as \
{"1": "no", "2": "yes", "3": "unsure"}."""


def prompt(settings: CaptionSettings) -> str:
    """The text that goes with a photo: the settings' own, or PROMPT, with its limits filled in."""
    text = settings.prompt or PROMPT
    # Not `str.format`: a prompt of a user's own may show JSON, with its braces.
    for name in ("max_objects", "max_relations"):
        text = text.replace(f"{{{name}}}", str(getattr(settings, name)))
    return text


def schema(max_objects: int, max_relations: int) -> dict[str, Any]:
    """The JSON schema of an answer.

    It uses only what servers with constrained decoding know, and the caption comes first: a model that has
    described the photo names its parts better.
    """
    text = {"type": "string"}
    triplet = {"type": "array", "items": text, "minItems": 3, "maxItems": 3}
    properties = {
        "caption": text,
        "action": text,
        "objects": {"type": "array", "items": text, "minItems": 1, "maxItems": max_objects},
        "relations": {"type": "array", "items": triplet, "maxItems": max_relations},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def verify_prompt(settings: VerifySettings) -> str:
    """The text that goes with a photo whose statements are judged: the settings' own, or VERIFY_PROMPT."""
    return settings.prompt or VERIFY_PROMPT


def with_statements(prompt: str, statements: Sequence[str]) -> str:
    """A prompt of `verify_prompt` with its statements, numbered from 1."""
    numbered = (f"{number}. {text}" for number, text in enumerate(statements, start=1))
    return prompt.replace(STATEMENTS, "\n".join(numbered))


def verdict_schema(count: int) -> dict[str, Any]:
    """The JSON schema of an answer about that many statements."""
    properties = {
        str(number): {"type": "string", "enum": list(VERDICTS)} for number in range(1, count + 1)
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
