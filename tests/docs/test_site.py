"""The site as a reader sees it: built without a warning, complete offline, and no wider than a phone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sphinx", reason="the site's tools are not installed (pip install 'hwsim[dev]')")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install 'hwsim[dev]')")

DOCS = Path(__file__).parents[2] / "docs"
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")
PAGES = ("index", "concepts/energy", "start/device", "reference/cards", "reference/commands")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, without running the gallery: `make docs` and test_examples.py do that."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("_build", "gallery"))
    shutil.copy(DOCS.parent / "README.md", folder)  # whose table of results a page shows
    conf = folder / "docs" / "conf.py"
    conf.write_text(conf.read_text().replace('"plot_gallery": True', '"plot_gallery": False'))
    build = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(folder / "docs"), str(folder / "html")]
    done = subprocess.run(build, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "html"


def test_the_site_needs_no_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img)[^>]+src="(https?:[^"]+)"', text)
        loaded += re.findall(r'<link[^>]+rel="stylesheet"[^>]+href="(https?:[^"]+)"', text)
        assert loaded == [], page


def test_every_public_name_and_command_is_on_the_site(site: Path) -> None:
    import hwsim as hw

    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert [name for name in hw.__all__ if f"hw.{name}" not in python] == []
    text = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for command in ("hwsim run", "hwsim attack", "hwsim device fit", "hwsim sweep"):
        assert command in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("NOT TESTED in a browser: no Chromium is installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_pages_open_without_an_error_and_without_scrolling_sideways(
    site: Path, browser: Any, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.set_default_timeout(300_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in PAGES:
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width + 1, name
        assert page.inner_text("h1"), name
    assert errors == []
    page.close()
