"""The page at /docs: what requests look like, from the service's OpenAPI description, without scripts."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: auto; padding: 1rem; }
h2 { font: 600 1.1rem ui-monospace, monospace; margin: 2rem 0 .3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8885; }
pre { overflow-x: auto; background: #8882; padding: .6rem; border-radius: .4rem; }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>Requests and answers are JSON. What can't be used is refused with status 422 and a reason in
<code>detail</code>; <a href="openapi.json">openapi.json</a> says the same to programs.</p>
<pre>curl {address}/embed -H 'content-type: application/json' \\
    -d '{{"texts": ["a red circle"], "level": "object"}}'</pre>
{paths}
</body>
</html>
"""


def explain(openapi: Mapping[str, Any], address: str) -> str:
    """The page as HTML.

    Args:
      openapi: The service's OpenAPI description.
      address: Where the service is, such as `http://127.0.0.1:8800`.
    """
    schemas = openapi.get("components", {}).get("schemas", {})
    paths = "\n".join(
        _route(path, method, route, schemas)
        for path, methods in openapi["paths"].items()
        for method, route in methods.items()
    )
    title = escape(openapi["info"]["title"])
    return _PAGE.format(title=title, style=_STYLE, address=escape(address), paths=paths)


def _route(path: str, method: str, route: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    told = (
        f"<h2>{method.upper()} {escape(path)}</h2>\n<p>{escape(route.get('description', ''))}</p>"
    )
    body = route.get("requestBody", {}).get("content", {}).get("application/json", {})
    if not body:
        return told
    named = body["schema"]["$ref"].rpartition("/")[2]
    return told + "".join(_table(name, schemas) for name in _with_parts(named, schemas))


def _with_parts(name: str, schemas: Mapping[str, Any]) -> list[str]:
    """A kind of object and those that it is made of."""
    found = [name]
    for each in found:
        named = (_named(field) for field in schemas[each].get("properties", {}).values())
        found += [other for other in named if other and other not in found]
    return found


def _named(schema: Mapping[str, Any]) -> str:
    """The kind of object that a field holds, itself or in a list; "" if it holds others."""
    choices = [schema, *schema.get("anyOf", ()), schema.get("items", {})]
    return next((each["$ref"].rpartition("/")[2] for each in choices if "$ref" in each), "")


def _table(name: str, schemas: Mapping[str, Any]) -> str:
    schema = schemas[name]
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code></td><td>{escape(form(own))}</td>"
        f"<td>{escape(_default(field, own, schema))}</td><td>{escape(own.get('description', ''))}</td></tr>"
        for field, own in schema.get("properties", {}).items()
    )
    head = "<tr><th>field</th><th>takes</th><th>if left out</th><th></th></tr>"
    about = f"<p><strong>{escape(name)}</strong>: {escape(schema.get('description', ''))}</p>"
    return f'{about}<div class="wide"><table>{head}{rows}</table></div>'


def _default(field: str, own: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if field in schema.get("required", ()):
        return "needed"
    default = own.get("default")
    return "nothing" if default is None or default == [] else json.dumps(default)


def form(schema: Mapping[str, Any]) -> str:
    """What a field takes, in words."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(form(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    kind = schema.get("type", "anything")
    if kind == "array":
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        count = f" of {least}" if least and least == most else f" of at most {most}" if most else ""
        return f"list{count}: {form(schema['items'])}"
    limits = [
        f"{word} {schema[key]:g}"
        for key, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "of at most"))
        if key in schema
    ]
    letters = ["characters"] if "maxLength" in schema else []
    name = {"string": "text", "boolean": "true or false"}.get(kind, kind)
    return " ".join([name, *limits, *letters])
