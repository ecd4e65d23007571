"""Files as laboratories write them: the same two trains in many forms are read to the same conductances."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.characterisation.reading import Reading, suggested, trains_of
from hwsim.characterisation.traces import Measured, read_traces
from hwsim.errors import InputError

UP = np.round(10 * (1 - 0.9 ** np.arange(1, 15)) + 0.05, 3)
DOWN = np.round(UP[::-1] - 0.02, 3)
BOTH = np.concatenate([UP, DOWN])


def read(folder: Path, text: str, name: str = "t.csv", **given: object) -> Measured:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_traces(path, Reading(**given))  # pyright: ignore[reportArgumentType]


def trains(found: Measured) -> tuple[np.ndarray, np.ndarray]:
    """The conductances that pulses up left, and those that pulses down left, each with the first read before them."""
    g, direction = found.traces.g, found.traces.direction
    sides = []
    for way in (1, -1):
        rows = [row for row in range(len(g)) if (direction[row] == way).any()]
        row = rows[0]
        places = np.flatnonzero(direction[row] == way)
        sides.append(g[row, places[0] : places[-1] + 2])
    return sides[0], sides[1]


def long(
    separator: str = ",", decimal: str = ".", head: str = "pulse,polarity,g_uS", up: str = "up", down: str = "down"
) -> str:
    rows = [head.replace(",", separator)]
    for i, g in enumerate(BOTH):
        rows.append(separator.join([str(i), up if i < 14 else down, f"{g:.3f}".replace(".", decimal)]))
    return "\n".join(rows) + "\n"


def assert_both(found: Measured, unit: str = "uS") -> None:
    up, down = trains(found)
    np.testing.assert_allclose(up, UP, rtol=1e-6)
    np.testing.assert_allclose(down[-13:], DOWN[-13:], rtol=1e-6)
    assert found.unit == unit


def columns(separator: str, decimal: str, head: str = "", end: str = "", places: int = 3) -> str:
    rows = [head] * bool(head)
    rows += [
        separator.join(f"{g:.{places}f}".replace(".", decimal) for g in pair) + end
        for pair in zip(UP, DOWN, strict=True)
    ]
    return "\n".join(rows) + "\n"


SPELLINGS = [(s, d) for s in (",", ";", "\t", " ", "|") for d in (".", ",") if s != d]
"""(separator, decimal mark): a comma cannot be both."""


@pytest.mark.parametrize(("separator", "decimal"), SPELLINGS)
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("places", [3, 4])
def test_separators_and_decimal_marks_are_guessed_from_the_whole_file(
    tmp_path: Path, separator: str, decimal: str, head: bool, places: int
) -> None:
    text = columns(separator, decimal, f"up{separator}down" if head else "", places=places)
    found = read(tmp_path, text)
    assert_both(found, "arbitrary")
    assert found.files[0][0].decimal == decimal


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_thousands_marks_trailing_separators_and_short_last_rows(tmp_path: Path, separator: str) -> None:
    decimal = "," if separator == ";" else "."
    thousands = {",": "'", ";": ".", "\t": ","}[separator]

    def written(g: float) -> str:
        whole, _, part = f"{1000 * g:.2f}".partition(".")
        whole = f"{int(whole):,}".replace(",", thousands)
        return f"{whole}{decimal}{part}"

    rows = [f"up_nS{separator}down_nS{separator}"]
    for i, (up, down) in enumerate(zip(UP, DOWN, strict=True)):
        rows.append(f"{written(up)}{separator}{written(down) if i < 12 else ''}{separator}")
    rows[-1] = rows[-1].rstrip(separator)
    up, down = trains(read(tmp_path, "\n".join(rows)))
    np.testing.assert_allclose(up, UP)
    np.testing.assert_allclose(down, DOWN[:12])


def test_numpys_savetxt_is_read_with_and_without_its_header(tmp_path: Path) -> None:
    for options in (
        {},
        {"header": "up_uS down_uS"},
        {"delimiter": ",", "fmt": "%.6e"},
        {"delimiter": "\t", "header": "LTP\tLTD"},
    ):
        text = io.StringIO()
        np.savetxt(text, np.stack([UP, DOWN], 1), **options)  # pyright: ignore[reportArgumentType]
        found = read(tmp_path, text.getvalue(), "t.txt")
        assert_both(found, "uS" if "uS" in options.get("header", "") else "arbitrary")


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ("1", "-1"),
        ("1.000", "-1.000"),
        ("1e+00", "-1e+00"),
        ("set", "reset"),
        ("SET", "RESET"),
        ("LTP", "LTD"),
        ("Potentiation", "Depression"),
        ("P", "D"),
        ("+", "-"),
        ("2.5", "-1.8"),
    ],
)
def test_polarities_are_words_or_signs(tmp_path: Path, up: str, down: str) -> None:
    assert_both(read(tmp_path, long(up=up, down=down)))


@pytest.mark.parametrize(
    "head",
    [
        "pulse,polarity,g_uS",
        "Pulse #,Direction,Conductance (µS)",
        "Pulse number;set/reset;G [uS]",
        "n,type,G/µS",
        "index,Operation,conductance_uS",
        "Pulse No.,LTP/LTD,G_ch (uS)",
        "step,V_pulse,g (μS)",
    ],
)
def test_heads_as_people_write_them(tmp_path: Path, head: str) -> None:
    separator = ";" if ";" in head else ","
    signs = {"up": "1", "down": "-1"} if "V_pulse" in head else {}
    assert_both(read(tmp_path, long(separator, head=head.replace(";", ","), **signs)))


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("S", 1e-6),
        ("mS", 1e-3),
        ("uS", 1.0),
        ("nS", 1e3),
        ("pS", 1e6),
        ("ohm", 1e6),
        ("kΩ", 1e3),
        ("kOhm", 1e3),
        ("MΩ", 1.0),
    ],
)
def test_units_of_conductances_and_resistances(tmp_path: Path, unit: str, value: float) -> None:
    resistance = "hm" in unit or "Ω" in unit
    rows = [f"pulse,polarity,{'Resistance' if resistance else 'G'} ({unit})"]
    rows += [
        f"{i},{'up' if i < 14 else 'down'},{value / g if resistance else value * g!r}"
        for i, g in enumerate(BOTH.tolist())
    ]
    assert_both(read(tmp_path, "\n".join(rows)))


def test_a_row_of_units_and_a_header_block_stand_before_the_table(tmp_path: Path) -> None:
    block = "Keithley 4200, LTP/LTD\nDate;2021-03-04\nDevice;A3\nPoints;28\n\nPulse;Polarity;Conductance\n;;nS\n"
    rows = long(";", ",").partition("\n")[2]
    found = read(tmp_path, block + rows, unit=None)
    np.testing.assert_allclose(trains(found)[0], UP * 1e-3)
    assert "Keithley 4200, LTP/LTD" in found.remarks


def test_currents_are_divided_by_the_voltage_that_they_were_read_at(tmp_path: Path) -> None:
    rows = [f"{i},{'set' if i < 14 else 'reset'},{0.2 * g:.6f}" for i, g in enumerate(BOTH)]
    text = "\n".join(["pulse,polarity,I (uA)", *rows])
    assert_both(read(tmp_path, text, read_voltage_V=0.2))
    with pytest.raises(InputError, match=r"(?s)currents need the voltage.*--read-voltage"):
        read(tmp_path, text)
    own = [
        f"{i},{'set' if i < 14 else 'reset'},{v},{1e-6 * v * g!r}"
        for i, g in enumerate(BOTH.tolist())
        for v in [0.1 + 0.01 * (i % 3)]
    ]
    assert_both(read(tmp_path, "\n".join(["pulse,polarity,Voltage (V),Current (A)", *own])))


def test_one_column_a_ramp_goes_the_way_it_clearly_goes(tmp_path: Path) -> None:
    rows = ["rmp1,rmp2,rmp3"] + [f"{a},{b},{c}" for a, b, c in zip(UP, DOWN, UP + 0.001, strict=True)]
    found = read(tmp_path, "\n".join(rows))
    assert found.traces.direction[:, 0].tolist() == [1, -1, 1]
    assert found.cycles == ("1", "2", "3")
    assert any("which way each train goes" in warning for warning in found.warnings)
    single = read(tmp_path, "\n".join(["rmp1", *map(str, UP)]))
    assert single.traces.direction.tolist() == [[1] * 13]
    named = read(tmp_path, "\n".join(["LTP 1,LTD 1,LTP 2", *rows[1:]]))
    assert (named.cycles, named.warnings) == (("1", "1", "2"), ())


def test_one_row_a_device(tmp_path: Path) -> None:
    head = "device," + ",".join(str(i) for i in range(14))
    rows = [f"{name}," + ",".join(f"{scale * g:.4f}" for g in UP) for name, scale in (("A1", 1), ("A2", 1.5))]
    for text in (head + "\n" + "\n".join(rows), "\n".join(rows)):
        found = read(tmp_path, text)
        assert found.devices == ("A1", "A2")
        np.testing.assert_allclose(found.traces.g[1], 1.5 * UP, rtol=1e-3)


def test_one_series_needs_the_lengths_of_its_trains_which_the_error_suggests(tmp_path: Path) -> None:
    text = "\n".join(["Pulse #,G (uS)"] + [f"{i},{g}" for i, g in enumerate(np.tile(BOTH, 3))])
    with pytest.raises(
        InputError, match=r"(?s)which pulses went up.*line 1: Pulse # \| G \(uS\).*--trains up:14,down:14"
    ):
        read(tmp_path, text)
    found = read(tmp_path, text, trains=trains_of("up:14,down:14"))
    np.testing.assert_array_equal(found.traces.direction[0], np.tile([1] * 14 + [-1] * 14, 3)[1:])
    assert suggested(np.tile(BOTH[::-1], 2)) == "up:14,down:14"
    assert suggested(np.concatenate([DOWN, np.tile(BOTH, 2)])).startswith("down:14")


def test_several_reads_under_one_pulse_are_repeated_reads_of_one_state(tmp_path: Path) -> None:
    rows = ["pulse,polarity,g_uS"]
    rows += [f"{i},{'up' if i < 14 else 'down'},{g + e:.4f}" for i, g in enumerate(BOTH) for e in (0.01, -0.01, 0.0)]
    found = read(tmp_path, "\n".join(rows))
    assert (found.traces.direction == 0).sum() == 2 * 28
    assert (found.traces.direction == 1).sum() == 13
    assert any("56 further reads" in warning for warning in found.warnings)
    apart = ["read,pulse,polarity,g_uS"]
    apart += [f"{k},{i},{'up' if i < 14 else 'down'},{g + 0.01 * k:.4f}" for k in range(3) for i, g in enumerate(BOTH)]
    assert (read(tmp_path, "\n".join(apart)).traces.direction == 0).sum() == 2 * 28


def test_trains_in_blocks_are_traces_of_their_own(tmp_path: Path) -> None:
    """All set ramps, then all reset ramps of the same cycles: what lies between them is not known."""
    rows = ["device,cycle,pulse,polarity,g_uS"]
    rows += [f"t,{cycle},{i},1,{g}" for cycle in range(3) for i, g in enumerate(UP)]
    rows += [f"t,{cycle},{i},-1,{g}" for cycle in range(3) for i, g in enumerate(DOWN)]
    found = read(tmp_path, "\n".join(rows))
    assert found.traces.direction.shape == (6, 13)
    assert sorted(found.cycles) == ["0", "0", "1", "1", "2", "2"]
    np.testing.assert_allclose(found.traces.g[found.traces.direction[:, 0] < 0], np.tile(DOWN, (3, 1)))


@pytest.mark.parametrize("number", ["nan", "NaN", "inf", "-inf", "1e400", "", "2.5"])
def test_what_is_no_whole_number_is_a_sentence(tmp_path: Path, number: str) -> None:
    rows = long().splitlines()
    rows[3] = rows[3].replace("2,", f"{number},", 1)
    with pytest.raises(InputError, match=r"t\.csv:4: pulse: expected a whole number, got"):
        read(tmp_path, "\n".join(rows))


def test_two_files_are_one_measurement(tmp_path: Path) -> None:
    for name, ramp in (("set", UP), ("reset", DOWN)):
        (tmp_path / f"{name}.csv").write_text("\n".join(["ramp1,ramp2"] + [f"{g},{g + 0.001:.3f}" for g in ramp]))
    found = read_traces([tmp_path / "set.csv", tmp_path / "reset.csv"], Reading("uS"))
    assert found.traces.direction[:, 0].tolist() == [1, 1, -1, -1]
    assert found.devices == ("1",)


def test_a_workbook_is_read_with_margins_notes_and_the_sheet_with_numbers(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed (pip install 'hwsim[excel]')")
    book = openpyxl.Workbook()
    book.active.title = "notes"
    book.active["A1"] = "measured on Monday"
    sheet = book.create_sheet("pulses")
    sheet["B3"], sheet["C3"], sheet["D3"], sheet["H3"] = "Pulse #", "Polarity", "G (uS)", "gate 2 V"
    for i, g in enumerate(BOTH):
        for column, value in zip("BCD", (i, 1 if i < 14 else -1, float(g)), strict=True):
            sheet[f"{column}{4 + i}"] = value
    book.save(tmp_path / "t.xlsx")
    found = read_traces(tmp_path / "t.xlsx")
    assert_both(found)
    assert found.files[0][0].sheet == "pulses"
    assert "gate 2 V" in found.remarks
    with pytest.raises(InputError, match=r"no sheet 'x'; its sheets are: notes, pulses"):
        read_traces(tmp_path / "t.xlsx", Reading(sheet="x"))
    (tmp_path / "bad.xlsx").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match="cannot be read as a workbook"):
        read_traces(tmp_path / "bad.xlsx")


def test_what_is_not_understood_is_answered_with_the_rows_as_read_and_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, "alpha;beta;gamma\n1,5;2,5;3,5\n1,6;2,6;3,7\n")
    text = str(error.value)
    assert "First rows as read (separator semicolon, decimal mark ',')" in text
    assert "line 1: alpha | beta | gamma" in text
    assert "line 2: 1,5 | 2,5 | 3,5" in text
    assert "To mend it: a first line that names the columns" in text


def test_polarity_0_is_no_way_to_say_down(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="falls by much where the polarity is 0"):
        read(tmp_path, long(up="1", down="0"))


def test_a_device_file_that_never_ends_is_no_file() -> None:
    with pytest.raises(InputError, match="64 MiB"):
        read_traces(Path("/dev/zero"))


def test_what_was_understood_is_written_so_that_it_is_read_the_same(tmp_path: Path) -> None:
    rows = ["pulse;polarity;R (kOhm)"]
    rows += [f"{i};{'up' if i < 14 else 'down'};{1e3 / g:.9g}" for i, g in enumerate(BOTH) for _ in range(1)]
    first = read(tmp_path, "\n".join(rows))
    again = read(tmp_path, first.long_form(), "again.csv")
    np.testing.assert_allclose(again.traces.g, first.traces.g, rtol=1e-7)
    np.testing.assert_array_equal(again.traces.direction, first.traces.direction)
    assert (again.unit, again.devices) == (first.unit, first.devices)


WORDS = ("1", "2.5", "-3", "1e308", "nan", "inf", "up", "set", "reset", "pulse", "g_uS", "G (nS)", "R/kOhm", "I")
MARKS = (",", ";", "\t", " ", "\n", "\n", "sep=;", "#", '"', "'", "\0", "µ", "1,5", "1.234,5", "ramp1", "-", "|", "%")
PIECES = st.sampled_from((*WORDS, *MARKS))


@given(st.lists(PIECES, max_size=60).map("".join))
@settings(max_examples=150)
def test_no_text_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    check_read(tmp_path_factory.getbasetemp() / "any.csv", text)


@given(st.data())
@settings(max_examples=150)
def test_no_damage_to_a_good_file_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = data.draw(st.sampled_from([long(), long(";", ","), columns("\t", ".", "up\tdown"), columns(" ", ".")]))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text)))
        end = place + data.draw(st.integers(0, 6))
        text = text[:place] + data.draw(PIECES) + text[end:]
    check_read(tmp_path_factory.getbasetemp() / "damaged.csv", text)


def check_read(path: Path, text: str) -> None:
    """It is read to finite numbers, or refused with a sentence that names the file."""
    path.write_text(text, encoding="utf-8", newline="")
    try:
        with np.errstate(all="raise"):
            found = read_traces(path)
    except InputError as error:
        message = str(error)
    else:
        assert np.isfinite(found.traces.g[:, 0]).all()
        assert not np.isinf(found.traces.g).any()
        message = path.name
    assert path.name in message
