"""The card of a data set: what is in it, what made it, what was left out, what isn't known of it."""

from typing import Any

from scenarioclip_jax.annotate.settings import AssembleSettings

NAME = "README.md"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LIMITS = """\
- Models made the annotations. They name what isn't there, miss what is, and share the prejudices of their
  training data, also about people.
- Names and predicates are those that a language model chose; the same thing may have several.
- Negatives are false as far as the scene's graph, its boxes and a table of predicates tell. What no model
  noticed can make one true.
- Boxes are `[x0, y0, x1, y1]` in pixels of the upright photo; masks are run lengths as in COCO.
"""


def card(summary: dict[str, Any], settings: AssembleSettings, examples: list[str]) -> str:
    """Writes a card in Markdown, with the head that the Hugging Face hub reads.

    Args:
      summary: What `assemble.json` holds.
      settings: Name, description and license.
      examples: Pictures, relative to the card.
    """
    counts = summary["counts"]
    size = next((name for limit, name in _SIZES if counts["scenes"] < limit), "n>1M")
    name = settings.name or "Scenes"
    lines = [
        "---",
        f"pretty_name: {_yaml(name)}",
        f"license: {settings.license or 'unknown'}",
        "task_categories:\n- zero-shot-image-classification\n- object-detection",
        f"tags:\n- scene-graph\nsize_categories:\n- {size}",
        "---",
        "",
        f"# {name}",
        "",
        settings.description
        or "Photos whose scenes were annotated by models: actions, objects, relations.",
        "",
        *_table(("in it", "number"), [(what, f"{n:,}") for what, n in counts.items()]),
    ]
    if not settings.license:
        lines += ["The license of the photos isn't known: `assemble: {license: …}` names it.", ""]
    lines += ["## How it was made", "", *_stages(summary["made"])]
    for title, key, head in (
        ("What filters left out", "removed", "filter"),
        ("Photos that aren't in it", "missing", "why"),
    ):
        if summary[key]:
            rows = [(what.replace("_", " "), f"{n:,}") for what, n in summary[key].items()]
            lines += [f"## {title}", "", *_table((head, "number"), rows)]
    if examples:
        lines += [
            "## Examples",
            "",
            *(f"![A photo with its annotations]({e})" for e in examples),
            "",
        ]
    return "\n".join([*lines, "## Known limits", "", _LIMITS])


def _stages(made: dict[str, dict[str, Any]]) -> list[str]:
    """A table of the stages with model and settings, then the prompts."""
    rows, prompts = [], {}
    for stage, identity in made.items():
        settings = dict(identity["settings"])
        model, revision = settings.pop("model", ""), settings.pop("revision", "")
        if prompt := settings.pop("prompt", ""):
            prompts[stage] = prompt
        if truth := identity.get("truth"):
            model = f"annotations of {truth['folder']}"
        told = ", ".join(f"{key} {value}" for key, value in settings.items())
        rows.append((f"{stage} {identity['version']}", model or "rules", revision, told))
    lines = _table(("stage, version", "model", "revision", "settings"), rows)
    for stage, prompt in prompts.items():
        lines += [f"The prompt of {stage}:", "", *(f"> {line}" for line in prompt.split("\n")), ""]
    return lines


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |")
    return [*lines, ""]


def _yaml(text: str) -> str:
    """A text as a YAML value, whatever is in it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
