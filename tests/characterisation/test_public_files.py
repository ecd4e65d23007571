"""Kinds of public files that were read wrongly, or refused in vain: heads, sweeps, bursts, reversed trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwsim.characterisation.heads import head_of
from hwsim.characterisation.reading import Reading
from hwsim.characterisation.traces import read_traces
from hwsim.errors import InputError

LTP_LTD = "Time[ns]_LTP\tConductance_LTP\tTime[ns]_LTD\tConductance_LTD\n" + "".join(
    f"{0.9 * i + 0.3 * (i % 3)}\t{3e-9 + i * 1e-9}\t{i}\t{2.3e-8 - i * 1e-9}\n" for i in range(20)
)


def test_heads_that_name_the_direction_and_the_quantity(tmp_path: Path) -> None:
    """Points read off a figure, a time beside each: leejiwon8433/Non-linear-Fitting-for-NeuroSim."""
    path = tmp_path / "raw.tsv"
    path.write_text(LTP_LTD)
    measured = read_traces(path, Reading(unit="S"))
    assert measured.traces.direction[:, 0].tolist() == [1, -1]
    np.testing.assert_allclose(measured.traces.g[0, :3], [0.003, 0.004, 0.005])
    assert any("every row is taken as one pulse" in warning for warning in measured.warnings)
    assert not any("_LTD: from row" in warning for warning in measured.warnings)


@pytest.mark.parametrize(
    ("head", "role", "quantity", "unit"),
    [
        ("R_LTP (kohm)", "up", "r", "kohm"),
        ("reset current [nA]", "down", "i", "nA"),
        ("G (uS) up", "up", "g", "uS"),
        ("Normalized conductance depression", "down", "g", "arbitrary"),
        ("Pulse_#_LTD", "pulse", "", None),
        ("LTP_uS", "up", "", "uS"),
    ],
)
def test_a_head_of_two_words(head: str, role: str, quantity: str, unit: str | None) -> None:
    found = head_of(head)
    assert (found.role, found.quantity, found.unit) == (role, quantity, unit)


def test_a_resistance_of_one_direction_is_turned_over(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("R_up (kohm),R_down (kohm)\n" + "".join(f"{100 - i},{80 + i}\n" for i in range(20)))
    np.testing.assert_allclose(read_traces(path).traces.g[0, :2], [10.0, 1000 / 99])


@pytest.mark.parametrize("order", ["as measured", "reversed"])
def test_a_train_against_its_own_head_is_refused(tmp_path: Path, order: str) -> None:
    """Depressions are often plotted backwards, and read off so."""
    rng = np.random.default_rng(0)
    up = np.arange(40) + rng.normal(0, 2, 40)
    down = (40 - np.arange(40) if order == "as measured" else np.arange(40)) + rng.normal(0, 2, 40)
    path = tmp_path / "t.csv"
    path.write_text("up,down\n" + "".join(f"{a:.3f},{b:.3f}\n" for a, b in zip(up + 10, down + 10, strict=True)))
    if order == "as measured":
        assert read_traces(path).traces.direction[1, 0] == -1
    else:
        with pytest.raises(InputError, match="in train 2 the conductance rises under down pulses"):
            read_traces(path)


def test_a_current_voltage_sweep_is_named(tmp_path: Path) -> None:
    volts = np.linspace(1, -1, 101)
    path = tmp_path / "iv.dat"
    path.write_text(
        "Time\tVoltage\tCurrent\n" + "".join(f"{i}\t{v:.2f}\t{v * 1e-5:.3e}\n" for i, v in enumerate(volts))
    )
    with pytest.raises(InputError, match="current-voltage sweep"):
        read_traces(path)


READS = "# pulse_v,pulse_width,num_applied,meas_v,i_0,i_1,i_2\n"


def reads(heights: list[float], applied: list[int]) -> str:
    rows = [
        f"{v},5e-7,{n},-0.1,{-(5 + i) * 1e-9:.4e},{-(5.1 + i) * 1e-9:.4e},{-(4.9 + i) * 1e-9:.4e}\n"
        for i, (v, n) in enumerate(zip(heights, applied, strict=True))
    ]
    return READS + "".join(rows)


def test_several_reads_in_one_row_are_repeated_reads(tmp_path: Path) -> None:
    """A row a burst of pulses, then columns of currents: DanielTimbie/Data_Analysis_Codes_Memristor."""
    path = tmp_path / "reads.csv"
    path.write_text(reads([4.2] * 20, [1000] * 20))
    measured = read_traces(path)
    np.testing.assert_allclose(measured.traces.g[0, :4], [0.05, 0.051, 0.049, 0.06])
    assert measured.traces.direction[0, :4].tolist() == [0, 0, 1, 0]
    assert any("every row is 1000 pulses" in warning for warning in measured.warnings)


@pytest.mark.parametrize(
    ("heights", "applied", "sentence"),
    [
        ([4.2] * 10 + [5.0] * 10, [1] * 20, "pulses of 4.2 to 5 V; a cell has one kind of pulse"),
        ([4.2] * 20, [1] * 10 + [100] * 10, "rows of 1 to 100 pulses"),
    ],
)
def test_pulses_that_are_not_alike_are_refused(
    tmp_path: Path, heights: list[float], applied: list[int], sentence: str
) -> None:
    path = tmp_path / "reads.csv"
    path.write_text(reads(heights, applied))
    with pytest.raises(InputError, match=sentence):
        read_traces(path)
