"""The page of a study."""

from __future__ import annotations

from pathlib import Path

from hwsim.study.store import write_text


def write_study_page(folder: Path) -> Path:
    page = folder / "report.html"
    write_text(page, "<!DOCTYPE html><title>study</title>")
    return page
