"""Builds the site strictly, and checks what the builder doesn't: images, links in the HTML, argument names.

    python docs/check.py

Run it in the repository's root. Needs the extra `docs`. Exits with 1, and says why, if anything is broken.
"""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import griffe

ROOT = Path(__file__).parents[1]
SITE = ROOT / "build" / "site"


class Page(HTMLParser):
    """The anchors of a page, and the local addresses that it points to."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.addresses: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" and value:
                self.ids.add(value)
            elif name in ("href", "src") and value and not urlsplit(value).scheme:
                if not value.startswith("//"):
                    self.addresses.append(value)


def broken_addresses(site: Path) -> list[str]:
    """Links, images, styles and scripts of all pages that lead nowhere, with their page."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":  # its addresses are those of the published site
            continue
        for address in page.addresses:
            parts = urlsplit(address)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            there = target.is_file()
            if there and parts.fragment and target in pages:
                there = unquote(parts.fragment) in pages[target].ids
            if not there:
                broken.append(f"{path.relative_to(site)}: {address} leads nowhere")
    return broken


def unknown_arguments(package: Path) -> list[str]:
    """Arguments that a docstring explains and the signature doesn't have."""
    module = griffe.load(
        package.name,
        search_paths=[package.parent],
        docstring_parser="google",
        docstring_options={"warn_unknown_params": False, "warn_missing_types": False},
        submodules=True,
    )
    unknown = []
    for function in _functions(module):
        if function.docstring is None:
            continue
        known = {parameter.name.lstrip("*") for parameter in function.parameters}
        for section in function.docstring.parsed:
            if section.kind is griffe.DocstringSectionKind.parameters:
                named = re.split(r",\s*", ",".join(argument.name for argument in section.value))
                for name in sorted({name.lstrip("*") for name in named} - known):
                    unknown.append(f"{function.path}: no argument {name!r}")
    return unknown


def _functions(holder):
    for member in holder.members.values():
        if member.is_alias:
            continue
        if member.is_function:
            yield member
        elif member.is_class or member.is_module:
            yield from _functions(member)


def main() -> int:
    # Beside this Python, wherever PATH leads.
    builder = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    if status := subprocess.run(builder, cwd=ROOT, check=False).returncode:
        return status
    found = broken_addresses(SITE) + unknown_arguments(ROOT / "scenarioclip_jax")
    print(*found, sep="\n", end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
