"""``hwsim device``: every command once as it should go, and once as it should not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_settings import small

from hwsim.cli.device import console

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(console, "_width", 200)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def skeleton(hwsim_here: Call) -> Path:
    code, out, _ = hwsim_here("device", "new", "mine", "--out", "lab")
    assert code == 0
    assert "hwsim device validate lab/mine" in out
    return Path("lab/mine")


def test_a_new_device_validates_at_once(hwsim_here: Call, skeleton: Path) -> None:
    code, out, err = hwsim_here("device", "validate", str(skeleton))
    assert (code, err) == (0, "")
    assert out.count(" ok ") == 11
    assert out.endswith("lab/mine: valid\n")


def test_new_refuses_what_is_there(hwsim_here: Call, skeleton: Path) -> None:
    before = (skeleton / "cell.py").read_text()
    code, _, err = hwsim_here("device", "new", "mine", "--out", "lab")
    assert code == 2
    assert "exists" in err
    assert (skeleton / "cell.py").read_text() == before


def test_a_device_that_pulses_the_wrong_way_fails(hwsim_here: Call, skeleton: Path) -> None:
    cell = skeleton / "cell.py"
    cell.write_text(cell.read_text().replace("return step if up else -step", "return -step if up else step"))
    code, out, err = hwsim_here("device", "validate", str(skeleton))
    assert code == 1
    assert "FAILED" in out
    assert err == "hwsim: lab/mine: fails 1 of 11 checks: update direction\n"


def test_two_directions_that_differ_fail_unless_the_gap_is_allowed(hwsim_here: Call, skeleton: Path) -> None:
    card = skeleton / "rpu-config.yaml"
    card.write_text(card.read_text() + "\nbackward: {out_scale: 0.7}\n")
    code, _, err = hwsim_here("device", "validate", str(skeleton))
    assert code == 1
    assert "adjointness" in err
    assert hwsim_here("device", "validate", str(skeleton), "--gap", "0.4")[0] == 0
    code, _, err = hwsim_here("device", "validate", str(skeleton), "--gap", "-1")
    assert code == 2
    assert "--gap" in err


def test_a_mistake_in_the_yaml_is_the_users(hwsim_here: Call, skeleton: Path) -> None:
    card = skeleton / "rpu-config.yaml"
    card.write_text(card.read_text().replace("nonlinearity:", "nonlinearty:"))
    code, _, err = hwsim_here("device", "validate", str(skeleton))
    assert code == 2
    assert "nonlinearity" in err


def test_diff_tells_what_differs(hwsim_here: Call, skeleton: Path) -> None:
    (Path("other") / "x").mkdir(parents=True)
    for file in skeleton.iterdir():
        (Path("other") / "x" / file.name).write_text(file.read_text().replace("dw_min: 0.002", "dw_min: 0.004"))
    code, out, _ = hwsim_here("device", "diff", str(skeleton), "other/x")
    assert code == 0
    assert out.splitlines()[1].split() == ["parameters.dw_min", "0.002", "0.004"]
    assert len(out.splitlines()) == 2
    assert hwsim_here("device", "diff", "ecram", "ecram")[1] == "no difference\n"


def test_plot_draws_into_the_folder_given(hwsim_here: Call, skeleton: Path) -> None:
    code, out, _ = hwsim_here("device", "plot", str(skeleton), "--out", "figures")
    assert code == 0
    assert "figures/device.png" in out
    assert sorted(path.name for path in Path("figures").iterdir()) == ["device.png", "device.svg"]


def traces(path: Path) -> Path:
    """One cycle of 60 up and 60 down pulses on four soft-bounds devices, in uS."""
    rng, lines = np.random.default_rng(0), ["device,cycle,pulse,polarity,g_uS"]
    for device in range(4):
        g = 2.0
        for pulse in range(120):
            up = pulse < 60
            g += (20 - g) * 0.05 if up else (1 - g) * 0.05
            lines.append(f"{device},0,{pulse},{'up' if up else 'down'},{g + rng.normal(0, 0.05):.4f}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_measured_pulses_become_a_device_that_validates(hwsim_here: Call) -> None:
    csv = traces(Path("traces.csv"))
    code, out, err = hwsim_here("device", "fit", str(csv), "--out", "fitted", "--response", "soft-bounds")
    assert (code, err) == (0, "")
    assert "next: hwsim ablate --device fitted " in out
    assert hwsim_here("device", "validate", "fitted")[0] == 0
    code, _, err = hwsim_here("device", "fit", str(csv), "--out", "fitted", "--response", "soft-bounds")
    assert code == 2
    assert "exists" in err


def test_a_fit_that_does_not_follow_the_data_says_so_first_and_ends_with_code_1(hwsim_here: Call) -> None:
    """Steps that grow with the conductance both ways, fitted by one that shrinks upwards."""
    g, rows = 2.0, ["pulse,polarity,g_uS"]
    for pulse in range(400):
        up = pulse % 200 < 100
        rows.append(f"{pulse},{'up' if up else 'down'},{g:.4f}")
        g *= 1.025 if (pulse + 1) % 200 < 100 else 1 / 1.025
    Path("t.csv").write_text("\n".join(rows))
    words = ["device", "fit", "t.csv", "--out", "x", "--response", "soft-bounds"]
    code, out, err = hwsim_here(*words)
    assert code == 1
    assert out.startswith("CHECK FAILED, the fit does not follow the data")
    assert "--accept" in err
    assert "CHECK FAILED" in Path("x/README.md").read_text()
    assert Path("x/rpu-config.yaml").read_text().startswith("# CHECK FAILED")
    assert hwsim_here(*words, "--overwrite", "--accept")[0] == 0


def test_traces_shows_how_a_file_is_understood(hwsim_here: Call) -> None:
    code, out, err = hwsim_here("device", "traces", str(traces(Path("t.csv"))), "--out", "seen")
    assert (code, err) == (0, "")
    assert "one row a pulse; separator comma, decimal mark '.', 480 rows from line 2 on" in out
    assert "column polarity: polarity" in out
    assert re.search(r"^3 +0 +59 up, 60 down +120 +0 ", out, re.MULTILINE)
    assert sorted(path.name for path in Path("seen").iterdir()) == ["traces.png", "traces.svg"]
    Path("odd.csv").write_text("Pulse;I\n" + "\n".join(f"{i};{1e-6 * (1 + i % 20)}" for i in range(60)))
    code, _, err = hwsim_here("device", "traces", "odd.csv")
    assert code == 2
    assert "--read-voltage" in err
    assert "line 1: Pulse | I" in err
    code, out, err = hwsim_here("device", "traces", "odd.csv", "--read-voltage", "0.1", "--trains", "up:20,sideways:3")
    assert code == 2
    assert "--trains: expected such as up:50,down:50" in err


def test_what_a_file_says_of_itself_does_nothing_in_a_readme(hwsim_here: Call) -> None:
    text = traces(Path("t.csv")).read_text()
    Path("t.csv").write_text("# <script>alert(1)</script> [x](javascript:y) & `z`\n" + text)
    assert hwsim_here("device", "fit", "t.csv", "--out", "x", "--response", "soft-bounds")[0] == 0
    readme = Path("x/README.md").read_text()
    assert "<script" not in readme
    assert "&lt;script&gt;alert(1)" in readme
    assert "\\[x\\](javascript:y)" in readme


def test_two_commands_from_a_csv_to_an_accuracy_and_what_limits_it(hwsim_here: Call) -> None:
    """A stranger's path: a semicolon file with a few gaps, and no question asked in between."""
    rows = traces(Path("t.csv")).read_text().replace(",", ";").splitlines()
    del rows[40:42]
    Path("lab.csv").write_bytes(("\ufeff" + "\r\n".join(rows)).encode())
    code, out, err = hwsim_here("device", "fit", "lab.csv", "--out", "devices/mine", "--response", "soft-bounds")
    assert (code, err) == (0, "")
    assert "caution: 2 pulses missing from the numbering" in out
    next_command = out.split("next: hwsim ")[1].split("(")[0].split()
    assert next_command == ["ablate", "--device", "devices/mine"]
    few = ["--seeds", "1", "--property", "granularity", "--property", "cycle-to-cycle variation"]
    code, out, err = hwsim_here(*next_command, *few, *small("network.layers=[64, 8, 10]"))
    assert code == 0, err
    assert "all of these on" in out
    verdicts = [line for line in out.splitlines() if re.match(VERDICT, line)]
    assert len(verdicts) == 1
    assert re.search(r"points \([−+][\d.]+ to [−+][\d.]+\)", verdicts[0]), "a cost and its interval"


VERDICT = r"The limiting property is|No limiting property|No single property limits|Which property limits cannot"


def test_a_fit_of_something_else_is_the_users_mistake(hwsim_here: Call) -> None:
    Path("no.csv").write_text("a,b,c\n1,2,3\n")
    code, _, err = hwsim_here("device", "fit", "no.csv", "--out", "x")
    assert code == 2
    assert "no.csv" in err
    assert not Path("x").exists()
    code, _, err = hwsim_here("device", "fit", str(traces(Path("t.csv"))), "--out", "x", "--unit", "furlong")
    assert code == 2
    assert "furlong" in err
