"""What a device's card shows of it beside its author's words: its plot and its conformance result, between marks."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwsim.cards.device import DeviceCard
from hwsim.characterisation.portrait import portray, write_device_figure
from hwsim.errors import InputError
from hwsim.jobs.store import write_text, written_aside
from hwsim.rng import Streams
from hwsim.testing import GAP, Check, conformance

BEGIN, END = "<!-- conformance:begin -->", "<!-- conformance:end -->"
TITLE = "## What it does, and whether it conforms"
FIGURE = "device.png"
DPI = 110
"""Fine enough to read on a page, small enough to keep with the sources."""


@dataclass(frozen=True)
class DevicePage:
    """A device's checks and the section that tells them.

    Args:
        name: of the device.
        checks: in the order of ``hwsim.testing.CHECKS``.
        section: Markdown between ``BEGIN`` and ``END``, both included.
    """

    name: str
    checks: tuple[Check, ...]
    section: str

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [check.name for check in self.checks if not check.passed]


def device_page(card: DeviceCard, given: str, seed: int = 0, gap: float = GAP) -> DevicePage:
    """Put a device through the conformance suite.

    Args:
        card: of the device.
        given: how the device was named on the command line, for the line that says how to print it again.
        seed: root of the random streams.
        gap: relative difference allowed between the two read directions.
    """
    checks = tuple(conformance(card.device, Streams(seed), gap))
    return DevicePage(card.name, checks, _section(card.name, checks, _command(given, seed, gap)))


def write_page(page: DevicePage, card: DeviceCard, seed: int = 0) -> tuple[Path, Path]:
    """Draw ``device.png`` beside the card and put the section into its ``README.md``, in place of an older one.

    A README without the section gets it at its end, a folder without a README gets one. Raises InputError where the
    device has no folder, or where a README has one of the two marks only.
    """
    if card.folder is None:
        raise InputError(f"{card.name}: comes from an installed package; a card is written into a device's own folder")
    figure, readme = card.folder / FIGURE, card.folder / "README.md"
    text = _placed(readme, page)  # a README that cannot be changed is told before anything is drawn
    with tempfile.TemporaryDirectory() as scratch:
        _, png = write_device_figure(portray(card.device, seed), card.name, Path(scratch), DPI)
        drawn = png.read_bytes()
    with written_aside(figure) as aside:
        aside.write_bytes(drawn)
    write_text(readme, text)
    return figure, readme


def section_of(text: str) -> str | None:
    """The section of a README, marks included; None where it has none."""
    found = re.search(re.escape(BEGIN) + ".*?" + re.escape(END), text, re.DOTALL)
    return found[0] if found else None


def outcomes(section: str) -> list[tuple[str, bool]]:
    """(name, passed) of every check that a section tells."""
    return [(name, told == "ok") for name, told in re.findall(r"^\| ([^|]+?) \| (ok|FAILED) \|", section, re.MULTILINE)]


def _placed(readme: Path, page: DevicePage) -> str:
    """The README with the section in it."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else f"# {page.name}\n"
    if text.count(BEGIN) != text.count(END) or text.count(BEGIN) > 1:
        raise InputError(f"{readme}: expected {BEGIN} and {END} once each, or neither; mend the marks")
    old = section_of(text)
    return text.replace(old, page.section) if old else f"{text.rstrip()}\n\n{TITLE}\n\n{page.section}\n"


def _section(name: str, checks: Sequence[Check], command: str) -> str:
    passed = sum(check.passed for check in checks)
    rows = [
        f"| {check.name} | {'ok' if check.passed else 'FAILED'} | {_cell(check.found)} | {_cell(check.expected)} |"
        for check in checks
    ]
    return "\n".join(
        [
            BEGIN,
            f"![{name}: what updates and reads do on small arrays]({FIGURE})",
            "",
            "| check | result | found | expected |",
            "|---|---|---|---|",
            *rows,
            "",
            f"{passed} of {len(checks)} checks passed. Drawn and printed by `{command}`.",
            END,
        ]
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _command(given: str, seed: int, gap: float) -> str:
    more = (f" --seed {seed}" if seed else "") + (f" --gap {gap:g}" if gap != GAP else "")
    return f"hwsim device card {given} --write{more}"
