"""The pages in a real browser: nothing missing, no error on the console, no request, no sideways scrolling."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attackfolder
import jobfolders
import pytest
import runfolder

from hwsim.experiments.ablation.job import plan_ablation
from hwsim.experiments.ablation.results import results, write_table
from hwsim.experiments.compare import compare
from hwsim.experiments.requests import AblationRequest
from hwsim.reports.ablation import write_ablation_page
from hwsim.reports.attack import write_attack_page
from hwsim.reports.compare import write_compare_page
from hwsim.reports.corruption import write_corruption_page
from hwsim.reports.device_run import write_report
from hwsim.reports.sweep import write_study_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install 'hwsim[dev]')")

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENT_MS = 300_000  # a busy machine is slow, which is no fault of a page
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")

CONTRAST = """() => {
  const light = (text) => {
    const part = text.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
      .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * part[0] + .7152 * part[1] + .0722 * part[2];
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if (c !== 'rgba(0, 0, 0, 0)' && c !== 'transparent') return c;
    }
    return 'rgb(255, 255, 255)';
  };
  const low = [];
  for (const e of document.querySelectorAll('h1,h2,h3,p,li,td,th,small,a,caption,figcaption,summary,code,span')) {
    if (!e.innerText || !e.offsetParent) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) low.push(e.tagName + ': ' + e.innerText.slice(0, 40));
  }
  return low;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=found, args=list(QUIET))
        yield chromium
        chromium.close()


def _run(folder: Path) -> Path:
    return write_report(runfolder.write_run(folder))


def _compare(folder: Path) -> Path:
    """Forty figures and more, long names, settings that differ."""
    one = runfolder.write_run(folder / "one")
    other = runfolder.write_run(folder / "digits-mlp-ecram-seed0-with-a-long-name", repeats=2, images=60)
    return write_compare_page(compare(one, other), folder / "page.html", "hwsim compare one other --out page.html")


def _ablation(folder: Path) -> Path:
    planned = plan_ablation(AblationRequest(device="ecram", seeds=2, out=folder, command="hwsim ablate"))
    variants = {name: 0.9 - 0.02 * i for i, (name, _) in enumerate(planned.work())}
    jobfolders.write_ablation(folder, 0.0, variants)
    found = results(planned)
    write_table(folder, found)
    return write_ablation_page(planned, found)


PAGES: dict[str, Callable[[Path], Path]] = {
    "run": _run,
    "attack": lambda folder: write_attack_page(attackfolder.write_attack(folder)),
    "corrupt": lambda folder: write_corruption_page(jobfolders.write_corrupt(folder, 0.4)),
    "compare": _compare,
    "ablate": _ablation,
    "sweep": lambda folder: write_study_page(jobfolders.write_sweep(folder, 0.3)),
    "unfinished sweep": lambda folder: write_study_page(jobfolders.write_sweep(folder, 0.3, unfinished=True)),
}


@pytest.fixture(scope="module", params=PAGES)
def page_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return PAGES[request.param](tmp_path_factory.mktemp("browser") / "folder")


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _run(tmp_path_factory.mktemp("browser") / "run")


def faults(browser: Any, path: Path, width: int = 1280, scheme: str = "light", media: str = "screen") -> list[str]:
    """What a reader would miss: console messages, failed or outward requests, broken images, overflow, low contrast."""
    found: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENT_MS)
    page.emulate_media(media=media, color_scheme=scheme)
    page.on("console", lambda message: found.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith(("data:", path.as_uri())) else found.append(f"asks for {asked.url}"),
    )
    page.goto(path.as_uri(), wait_until="load")
    broken = "() => [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt.slice(0, 40))"
    found += [f"image not shown: {alt}" for alt in page.evaluate(broken)]
    wide = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    found += [f"{wide} px wider than the window of {width}"] if media == "screen" and wide > 0 else []
    found += [f"contrast below 4.5: {text}" for text in page.evaluate(CONTRAST)]
    links = page.evaluate("() => [...document.links].map(a => a.getAttribute('href'))")
    gone = (link for link in links if not link.startswith(("#", "data:")) and not (path.parent / link).exists())
    found += [f"{link} is not there" for link in gone]
    context.close()
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_is_whole_on_screens(browser: Any, page_file: Path, width: int, scheme: str) -> None:
    assert faults(browser, page_file, width, scheme) == []


def test_a_page_is_whole_on_paper(browser: Any, page_file: Path) -> None:
    assert faults(browser, page_file, media="print") == []


def test_the_first_tab_stop_skips_to_the_results(browser: Any, page_file: Path) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENT_MS)
    page.goto(page_file.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"
    assert page.evaluate("() => document.activeElement.getBoundingClientRect().left") >= 0
    page.close()


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("</body>", "<script>console.error('planted')</script></body>", "console: planted"),
        ("</body>", "<script>nowhere()</script></body>", "error: nowhere is not defined"),
        ("</body>", "<img src='gone.png' alt='planted'></body>", "image not shown: planted"),
        ("</body>", "<div style='width: 2000px'>wide</div></body>", "px wider than the window"),
        ("</body>", "<p style='color: #ccc; background: #fff'>pale</p></body>", "contrast below 4.5: P: pale"),
        ("</body>", "<a href='gone.csv'>gone</a></body>", "gone.csv is not there"),
        ("</body>", "<img src='http://127.0.0.1:9/x.png' alt='outside'></body>", "asks for http://127.0.0.1:9/x.png"),
    ],
)
def test_the_check_rejects_a_broken_page(browser: Any, run_page: Path, good: str, bad: str, told: str) -> None:
    broken = run_page.with_name("broken.html")
    broken.write_text(run_page.read_text().replace(good, bad))
    try:
        assert any(told in fault for fault in faults(browser, broken, 360))
    finally:
        broken.unlink()
