"""The page of any job's folder, by the kind of the job."""

from __future__ import annotations

from pathlib import Path

from hwsim.errors import InputError
from hwsim.experiments.kinds import read_folder
from hwsim.reports.attack import write_attack_page
from hwsim.reports.corruption import write_corruption_page
from hwsim.reports.device_run import write_report
from hwsim.reports.page import is_current
from hwsim.reports.sweep import write_study_page

PAGES = {
    "run": write_report,
    "attack": write_attack_page,
    "corrupt": write_corruption_page,
    "sweep": write_study_page,
}


SOURCES = ("config.yaml", "metrics.jsonl", "receipt.json", "cost.json")
"""What a page of a job is made of, as far as it is there; the rest of a folder is made of these."""


def current_page(folder: Path) -> Path:
    """The page of a finished job: as it is, or written anew where the job went on or another version wrote it."""
    page = folder / "report.html"
    return page if is_current(page, *(folder / name for name in SOURCES)) else write_folder_page(folder)


def write_folder_page(folder: Path) -> Path:
    """Write a folder's page anew, from what it holds. InputError where there is no page for it."""
    kind = read_folder(folder).kind
    if kind == "ablate":
        raise InputError(
            f"{folder}: of hwsim ablate, whose own command writes its page anew and measures nothing twice"
        )
    if kind not in PAGES:
        raise InputError(f"{folder}: of hwsim {kind}, which has no page; expected one of {', '.join(PAGES)}")
    return PAGES[kind](folder)
