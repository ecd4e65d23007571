"""Cards of the shelf: each has its plot and its checks, and says of them what the code says now."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwsim.cards import shelf
from hwsim.cards.device import read_device
from hwsim.characterisation.device_page import BEGIN, END, FIGURE, device_page, outcomes, section_of, write_page
from hwsim.errors import InputError
from hwsim.testing import CHECKS

NAMES = sorted(path.parent.name for path in shelf.shelf("devices").glob("*/rpu-config.yaml"))
MOST_BYTES = 150_000


@pytest.mark.parametrize("name", NAMES)
def test_every_device_on_the_shelf_has_its_card_its_plot_and_its_checks(name: str) -> None:
    folder = shelf.shelf("devices") / name
    readme = (folder / "README.md").read_text(encoding="utf-8")
    section = section_of(readme)
    assert section is not None, f"run: hwsim device card {name} --write"
    assert [check for check, _ in outcomes(section)] == list(CHECKS)
    assert all(passed for _, passed in outcomes(section))
    assert f"]({FIGURE})" in section
    figure = (folder / FIGURE).read_bytes()
    assert figure.startswith(b"\x89PNG")
    assert 10_000 < len(figure) < MOST_BYTES
    assert "results:begin" in readme, "what equilibrium propagation reaches on it"


@pytest.mark.parametrize("name", ["ideal", "soft-bounds-cell"])
def test_a_seedable_card_tells_to_the_letter_what_the_code_tells_now(name: str) -> None:
    page = device_page(read_device(name), name)
    assert page.section == section_of((shelf.shelf("devices") / name / "README.md").read_text(encoding="utf-8"))
    assert page.failed == []


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "rpu-config.yaml").write_text("cell: ideal\n")
    return folder


def test_a_section_is_appended_once_and_then_replaced(mine: Path) -> None:
    (mine / "README.md").write_text("# Mine\n\nMy words.\n")
    card = read_device(mine)
    page = device_page(card, str(mine))
    write_page(page, card)
    once = (mine / "README.md").read_text()
    assert once.startswith("# Mine\n\nMy words.\n")
    stale = once.replace("| shapes | ok |", "| shapes | FAILED |")
    (mine / "README.md").write_text(stale + "\nMore words.\n")
    assert outcomes(section_of(stale) or "")[0] == ("shapes", False)
    write_page(page, card)
    assert (mine / "README.md").read_text() == once + "\nMore words.\n"


def test_a_device_without_a_readme_gets_one_and_a_failure_is_told(mine: Path) -> None:
    (mine / "rpu-config.yaml").write_text("cell: ideal\nbackward: {out_scale: 0.5}\n")
    card = read_device(mine)
    page = device_page(card, str(mine), seed=1)
    assert page.failed == ["adjointness"]
    write_page(page, card, seed=1)
    text = (mine / "README.md").read_text()
    assert text.startswith("# mine\n")
    assert ("adjointness", False) in outcomes(text)
    assert "10 of 11 checks passed" in text
    assert f"hwsim device card {mine} --write --seed 1" in text


def test_torn_marks_are_the_users_to_mend_and_nothing_is_written(mine: Path) -> None:
    (mine / "README.md").write_text(f"# Mine\n{BEGIN}\n")
    card = read_device(mine)
    with pytest.raises(InputError, match=f"expected {BEGIN} and {END} once each"):
        write_page(device_page(card, str(mine)), card)
    assert {path.name for path in mine.iterdir()} == {"rpu-config.yaml", "README.md"}
