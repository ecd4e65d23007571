"""CSV files of pulses: every form and unit is read alike, every mistake is told with its line; up to YAML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hwsim.cards.device import read_device
from hwsim.characterisation.fit import FitResult, fit_device
from hwsim.characterisation.traces import Measured, Reading, read_traces
from hwsim.devices.responses import SoftBoundsCell
from hwsim.errors import InputError

HEADER = "device,cycle,pulse,polarity,g_uS\n"


def ramp(count: int = 12, device: str = "a", cycle: int = 1) -> list[str]:
    """Rows of an up ramp 1, 2, ... and back down, after a first read without a pulse."""
    rows = [f"{device},{cycle},0,0,1"]
    rows += [f"{device},{cycle},{i},up,{1 + i}" for i in range(1, count + 1)]
    rows += [f"{device},{cycle},{count + i},down,{1 + count - i}" for i in range(1, count + 1)]
    return rows


def read(folder: Path, text: str, unit: str | None = None) -> Measured:
    path = folder / "t.csv"
    path.write_text(text)
    return read_traces(path, Reading(unit))


def test_long_form_keeps_devices_cycles_pulses_and_polarity(tmp_path: Path) -> None:
    rows = ramp(device="x") + ramp(device="x", cycle=2) + ramp(device="b")
    found = read(tmp_path, HEADER + "\n".join(rows))
    assert found.devices == ("x", "b")
    assert found.unit == "uS"
    assert found.warnings == ()
    assert found.traces.device.tolist() == [0, 0, 1]
    assert found.traces.direction[0].tolist() == [1] * 12 + [-1] * 12
    np.testing.assert_array_equal(found.traces.g[2], [*range(1, 14), *range(12, 0, -1)])


@pytest.mark.parametrize(
    ("unit", "row"),
    [
        ("uS", lambda g: g),
        ("nS", lambda g: 1e3 * g),
        ("mS", lambda g: g / 1e3),
        ("S", lambda g: g / 1e6),
        ("ohm", lambda g: 1e6 / g),
        ("kohm", lambda g: 1e3 / g),
        ("Mohm", lambda g: 1 / g),
    ],
)
@pytest.mark.parametrize("in_header", [True, False])
def test_all_units_give_the_same_conductance(tmp_path: Path, unit: str, row: object, in_header: bool) -> None:
    assert callable(row)
    cells = [line.split(",") for line in ramp()]
    text = "\n".join(",".join([*line[:4], repr(row(float(line[4])))]) for line in cells)
    header = HEADER.replace("g_uS", f"r_{unit}" if in_header else "conductance")
    found = read(tmp_path, header + text, None if in_header else unit)
    np.testing.assert_allclose(found.traces.g[0], [*range(1, 14), *range(12, 0, -1)])
    assert found.unit == "uS"


@pytest.mark.parametrize("header", ["", "up,down\n", "up_uS,down_uS\n", "down,up\n"])
def test_two_columns_are_an_up_and_a_down_train(tmp_path: Path, header: str) -> None:
    pairs = [(g, 20 - g) for g in range(2, 16)]
    swapped = header.startswith("down")
    found = read(tmp_path, header + "\n".join(f"{b},{a}" if swapped else f"{a},{b}" for a, b in pairs))
    assert found.unit == ("uS" if "uS" in header else "arbitrary")
    up = found.traces.g[found.traces.direction[:, 0] > 0][0]
    np.testing.assert_array_equal(up, range(2, 16))
    assert found.traces.direction.shape == (2, 13)


def test_semicolons_comments_blank_lines_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    text = "\ufeff# a comment\n\n" + (HEADER + "\n".join(ramp())).replace(",", ";").replace("a;1;3;", "\na;1;3;")
    assert read(tmp_path, text).traces.direction.shape == (1, 24)


def test_gaps_unread_and_repeated_pulses_are_kept_apart_and_told(tmp_path: Path) -> None:
    rows = ramp()
    rows[5] = rows[5].rpartition(",")[0] + ",NaN"
    del rows[8]
    rows.append(rows[-1])
    found = read(tmp_path, HEADER + "\n".join(rows))
    assert np.flatnonzero(np.isnan(found.traces.g[0])).tolist() == [5, 8]
    assert found.traces.direction[0].tolist() == [1] * 12 + [-1] * 12  # unread pulses are pulses all the same
    assert found.traces.weight[0, [4, 7]].tolist() == [0, 0]
    told = " ".join(found.warnings)
    assert "without a conductance" in told
    assert "given twice with the same value" in told
    assert "missing from the numbering" in told


def test_a_gap_at_a_change_of_polarity_breaks_the_trace(tmp_path: Path) -> None:
    rows = ramp()
    del rows[12]  # the last up pulse: what came between is not known
    found = read(tmp_path, HEADER + "\n".join(rows))
    assert found.traces.direction.shape[0] == 2


def test_devices_that_never_change_are_left_out_and_told(tmp_path: Path) -> None:
    stuck = [",".join([*row.split(",")[:4], "7"]) for row in ramp(device="s")]
    found = read(tmp_path, HEADER + "\n".join(ramp() + stuck))
    assert found.devices == ("a",)
    assert found.stuck == 0.5
    assert "1 of 2 devices never change and are left out: s" in found.warnings[0]


@pytest.mark.parametrize("head", ["conductance_uS", "G (uS)", "g [µS]", "G_μS", "conductance (uS)"])
def test_units_stand_in_headers_as_people_write_them(tmp_path: Path, head: str) -> None:
    found = read(tmp_path, HEADER.replace("g_uS", head) + "\n".join(ramp()))
    assert (found.unit, found.warnings) == ("uS", ())


def test_decimal_commas_are_read_between_semicolons(tmp_path: Path) -> None:
    rows = [row.replace(",", ";") + ",25" for row in ramp()]
    found = read(tmp_path, HEADER.replace(",", ";") + "\n".join(rows))
    np.testing.assert_array_equal(found.traces.g[0], np.array([*range(1, 14), *range(12, 0, -1)]) + 0.25)


@pytest.mark.parametrize("code", ["utf-16", "utf-8-sig", "cp1252"])
def test_what_spreadsheets_write_is_read(tmp_path: Path, code: str) -> None:
    path = tmp_path / "t.csv"
    text = HEADER.replace("uS", "µS") + "\r\n".join(ramp()) + "\r\n"
    path.write_bytes(text.encode(code))
    assert read_traces(path).traces.direction.shape == (1, 24)


@pytest.mark.parametrize("first", [0, 1])
def test_trains_that_number_their_pulses_anew_follow_each_other(tmp_path: Path, first: int) -> None:
    rows = [f"a,{cycle},{first + i},up,{1 + i}" for cycle in (1, 2) for i in range(12)]
    rows = [*rows[:12], *(f"a,1,{first + i},down,{11 - i}" for i in range(11)), *rows[12:]]
    rows += [f"a,2,{first + i},down,{11 - i}" for i in range(11)]
    found = read(tmp_path, HEADER + "\n".join(rows))
    assert found.traces.direction.tolist() == [[1] * 11 + [-1] * 11] * 2
    np.testing.assert_array_equal(found.traces.g[1], [*range(1, 13), *range(11, 0, -1)])
    assert found.warnings[0].startswith("2 trains start their numbering anew")


def test_two_numbered_columns_are_two_columns(tmp_path: Path) -> None:
    rows = [f"{i},{1 + i},{20 - i}" for i in range(14)]
    found = read(tmp_path, "pulse,up_uS,down_uS\n" + "\n".join(rows))
    assert (found.unit, found.traces.direction.shape) == ("uS", (2, 13))


def test_an_unlikely_unit_is_told(tmp_path: Path) -> None:
    rows = [row.rpartition(",")[0] + f",{float(row.rpartition(',')[2]) * 1e-6}" for row in ramp()]
    assert "check the unit" in read(tmp_path, HEADER + "\n".join(rows)).warnings[0]


def changed(line: int, text: str) -> str:
    rows = ramp()
    rows[line] = text
    return HEADER + "\n".join(rows)


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("", None, r"t\.csv: empty; expected the columns device,cycle"),
        (HEADER, None, "a header and no rows"),
        ("\x00\x01\x02", None, "t.csv"),
        ("up_uS,down_nS\n1,2\n", None, r"t\.csv:1: expected one unit in the header, got nS, uS"),
        ("a,b,c\n1,2,3\n", None, r"t\.csv:1: expected the columns .* got the columns a,b,c"),
        ("devcie,cycl,puls,polrity,g\n1,1,1,1,1\n", None, r"t\.csv:1: expected the columns.*did you mean 'device'"),
        (
            "device,cycle,pulse,g_uS\n1,1,1,1\n",
            None,
            r"t\.csv:2: which pulses went up and which down is not in the file",
        ),
        ("device,cycle,pulse,polarity\n1,1,1,1\n", None, "expected one column of conductances"),
        (HEADER.replace("uS", "furlong") + "1,1,1,1,1\n", None, "unit 'furlong' in the header is unknown"),
        (HEADER + "1,1,1,1,1\n", "uSS", "unit 'uSS': unknown; did you mean 'uS'"),
        (HEADER + "1,1,1,1,1\n", "ms", "mS for millisiemens"),
        ("1,2,3\n4,5,6\n", None, "got 3 columns without a header"),
        ("1,2\n3\n", None, "1 measured pulses; expected at least 10"),
        ("1,2\nx,4\n", None, r"t\.csv:2: expected a conductance, got 'x'"),
        (changed(3, "a,1,3"), None, r"t\.csv:5: expected 5 cells as in the header, got 3"),
        (changed(3, "a,1,3,up,x"), None, r"t\.csv:5: expected a conductance, got 'x'"),
        (changed(3, "a,1,3,up,inf"), None, r"t\.csv:5: conductance 'inf' is infinite"),
        (changed(3, "a,1,3,up,-4"), None, r"t\.csv:5: -4 uS is no conductance"),
        (changed(3, "a,1,3,sideways,4"), None, r"t\.csv:5: polarity: expected up, down or 0, got 'sideways'"),
        (changed(3, "a,1,three,up,4"), None, r"t\.csv:5: pulse: expected a whole number, got 'three'"),
        (changed(3, "a,1,3.5,up,4"), None, r"t\.csv:5: pulse: expected a whole number"),
        (changed(6, "a,1,2,up,9"), None, r"t\.csv:8: device a, cycle 1, pulse 2 is there already.* in line 4"),
        (HEADER + "\n".join(ramp(3)), None, "6 measured pulses; expected at least 10"),
        (HEADER + "\n".join(f"a,1,{i},up,5" for i in range(30)), None, "never changes"),
        (HEADER + "\n".join(f"a,1,{i},up," for i in range(30)), None, "no two conductances"),
        ("\n".join(f"{30 - i},{i}" for i in range(20)), None, "under the pulses .* wrong way"),
        (HEADER + "\n".join(ramp()), "kohm", "under the pulses .* wrong way"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, unit: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text, unit)


def test_missing_and_binary_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_traces(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        read_traces(tmp_path / "b.csv")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """A device folder made of 3 simulated devices, g = 20 + 10 w in uS."""
    folder = tmp_path_factory.mktemp("fit")
    cell = SoftBoundsCell(dw_min=0.05, up_down=0.2, dw_min_std=0.3)
    rng = torch.Generator().manual_seed(5)
    lines = [HEADER.strip()]
    for device in range(3):
        g = torch.full((1, 1), -0.9)
        for pulse in range(161):
            up = pulse <= 80
            if pulse:
                g = cell.step(g, torch.tensor([[float(up)]]), torch.tensor([[float(not up)]]), rng)
            noise = 0.01 * float(torch.randn((), generator=rng))
            lines.append(f"{device},1,{pulse},{1 if up else -1},{20 + 10 * (float(g) + noise):.5g}")
    (folder / "lab.csv").write_text("\n".join(lines))
    return fit_device(folder / "lab.csv", folder / "mine", response="soft-bounds")


def test_a_csv_becomes_a_device_that_can_be_read_and_built(fitted: FitResult) -> None:
    card = read_device(str(fitted.card.parent))
    cell = card.resolved["parameters"]
    assert card.resolved["cell"] == "soft-bounds"
    half = fitted.fits.half
    assert half * cell["dw_min"] == pytest.approx(0.5, rel=0.15)
    assert half * cell["read_noise"] == pytest.approx(0.1, rel=0.2)
    assert fitted.fits.middle + half * cell["w_max"] == pytest.approx(30, rel=0.03)
    merit = {e.name: e for e in fitted.merit}
    assert merit["symmetry_point"].value == pytest.approx(22, abs=max(0.3, 5 * merit["symmetry_point"].std))


def test_card_figure_and_traces_are_written_and_say_what_is_known(fitted: FitResult) -> None:
    assert {path.name for path in fitted.card.parent.iterdir()} == {
        "rpu-config.yaml",
        "README.md",
        "fit.svg",
        "fit.png",
        "traces.csv",
    }
    readme, card = fitted.readme.read_text(), fitted.card.read_text()
    assert "480 pulses on 3 devices" in readme
    assert "symmetry point" in readme
    assert card.startswith("# Conductance = ")
    assert "µS" in card
    assert fitted.png.stat().st_size > 20_000
    assert any("symmetry point: " in line for line in fitted.lines())


def test_a_device_is_not_overwritten_unasked_and_responses_are_checked(fitted: FitResult) -> None:
    with pytest.raises(InputError, match="exists; give another folder"):
        fit_device(fitted.csv, fitted.card.parent)
    with pytest.raises(InputError, match="response 'soft-bound': unknown; did you mean 'soft-bounds'"):
        fit_device(fitted.csv, fitted.card.parent / "x", response="soft-bound")
