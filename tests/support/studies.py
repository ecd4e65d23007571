"""The Python of the studies on the shelf, as their own tests want it."""

from __future__ import annotations

from types import ModuleType

from hwsim.cards.plugins import load, read_code
from hwsim.cards.shelf import find
from hwsim.cards.yamlfile import Document


def module_of(study: str, file: str) -> ModuleType:
    """A file of a study's folder, as a module."""
    document = Document({}, f"study {study}")
    return load(read_code(f"./{file}.py:any", find("studies", study).folder, document, ()), document, ())
