"""What a language model is asked of a photo, and the JSON schema of its answer."""

from typing import Any

from scenarioclip_jax.annotate.settings import CaptionSettings

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
