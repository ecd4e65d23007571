"""A page of results as a test reads it: its tags, the text below every id, and what a reader would miss."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

VOID = {"meta", "link", "img", "br"}


@dataclass
class Page(HTMLParser):
    """Tags with their attributes, and the text below every id."""

    text: str
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    below: dict[str, str] = field(default_factory=dict)
    open: list[tuple[str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append((tag, attributes.get("id")))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        for _, name in self.open:
            if name:
                self.below[name] = self.below.get(name, "") + data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def faults(self, folder: Path) -> list[str]:
        """What would be missing without a network, or to a reader who does not see."""
        found = []
        names = [a["id"] for _, a in self.tags if "id" in a]
        found += [f"id {name} twice" for name in set(names) if names.count(name) > 1]
        found += [f"<{tag}>" for tag, _ in self.tags if tag in ("script", "iframe", "object", "embed")]
        for _, attributes in self.tags:
            for target in (attributes[key] for key in ("src", "href", "srcset") if key in attributes):
                if target.startswith("#"):
                    found += [] if target[1:] in names else [f"{target} leads nowhere"]
                elif target.startswith("data:"):
                    content = base64.b64decode(target.partition("base64,")[2])
                    if target.startswith("data:image/svg+xml"):
                        svg = [
                            e.get("{http://www.w3.org/1999/xlink}href", "")
                            for e in ElementTree.fromstring(content).iter()
                        ]
                        found += [f"{link} in a figure" for link in svg if link and not link.startswith(("#", "data:"))]
                elif re.match(r"[a-z]+:|//", target) or not (folder / unquote(target)).exists():
                    found.append(f"{target} is not in the run folder")
        found += [f"style: {url}" for url in re.findall(r"url\(|@import", self.text)]
        found += ["an image without a text" for image in self.all("img") if len(image.get("alt", "")) < 40]
        found += ["a cell of a head without scope" for head in self.all("th") if "scope" not in head]
        tables, captions = len(self.all("table")), len(self.all("caption"))
        found += [] if tables == captions else [f"{tables} tables and {captions} captions"]
        return found
