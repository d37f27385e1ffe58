"""HTML pages from templates, which stay valid whatever a label contains."""

import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

HERE = Path(__file__).parent
# HTML allows no control characters except tab, line feed, form feed and carriage return. Half of a surrogate
# pair can't be written at all.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def render(template: Path, **values: Any) -> str:
    """Renders a template with escaped values.

    It may build on the templates beside this module: `layout.html`, the frame of a report, and `pieces.html`,
    cards, photos and charts.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style"] = Markup((HERE / "style.css").read_text("utf-8"))
    return environment.get_template(template.name).render(**values)


def _printable(value: Any) -> Any:
    """Replaces characters that a page can't hold by U+FFFD, the replacement character."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _FORBIDDEN.sub("\ufffd", value)
    return value
