"""YAML files: plain values with their lines, and mistakes told where they stand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.cards.yamlfile import (
    Document,
    did_you_mean,
    override,
    parse_setting,
    parse_value,
    parse_yaml,
    read_yaml,
    to_yaml,
)
from hwsim.errors import InputError


def test_values_and_lines():
    document = parse_yaml(
        "a: 1e-3\nb:\n  c: [1, {d: off}]\n  e: 010\nf: 2018-01-01\ng: ~\nh: -.inf\ni: 0x1F\n", "f.yaml"
    )
    expected = {
        "a": 1e-3,
        "b": {"c": [1, {"d": "off"}], "e": 10},
        "f": "2018-01-01",
        "g": None,
        "h": -math.inf,
        "i": 31,
    }
    assert document.data == expected
    assert document.lines[("b", "c")] == 3
    assert document.lines[("b", "c", 1, "d")] == 3
    assert document.lines[("h",)] == 7


def test_an_alias_repeats_a_map():
    assert parse_yaml("a: &x {b: 1}\nc: *x\n", "f").data == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: a: given twice, first in line 1"),
        (
            "a:\n  b: !!python/name:os.system x\n",
            "f.yaml:2: a.b: the tag 'tag:yaml.org,2002:python/name:os.system' is not allowed; give plain values",
        ),
        ("a: !env HOME\n", "f.yaml:1: a: the tag '!env' is not allowed; give plain values"),
        ("- 1\n", "f.yaml:1: expected a map of keys and values at the top level, got a list"),
        ("a: [1\n", "f.yaml:2: not valid YAML: did not find expected ',' or ']'"),
        (
            "a: b: c\n",
            "f.yaml:1: not valid YAML: mapping values are not allowed in this context "
            "(text that contains ': ' needs quotes)",
        ),
        (
            "a:\n\t- b\n",
            "f.yaml:2: not valid YAML: found character that cannot start any token (a tab? indent with spaces)",
        ),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: not valid YAML: but found another document"),
        ("true: 1\n", "f.yaml:1: expected a name as key, got the truth value true"),
        ("a:\n  [1]: 2\n", "f.yaml:2: a: expected a name as key, got a list"),
        ("a: &x [*x]\n", "f.yaml:1: nested deeper than 50 levels; does an alias (*name) contain itself?"),
        ("[" * 50000, "f.yaml:1: nested deeper than 50 levels"),
        ('a: "\\ud800"\n', "f.yaml:1: not valid YAML: found invalid Unicode character escape code"),
        (".nan: 1\n", "f.yaml:1: expected a name as key, got the number nan"),
    ],
)
def test_mistakes(text: str, message: str):
    with pytest.raises(InputError) as error:
        parse_yaml(text, "f.yaml")
    assert str(error.value) == message


def test_aliases_cannot_blow_up():
    text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for i in range(1, 10):
        text += f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n"
    with pytest.raises(InputError, match="over 100000 values"):
        parse_yaml(text, "f")


def test_files_that_cannot_be_read(tmp_path):
    for path, what in ((tmp_path / "no.yaml", "no such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=what):
            read_yaml(path)
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"a: \xff\xfe")
    with pytest.raises(InputError, match="not a text file in UTF-8"):
        read_yaml(binary)


def test_an_empty_file_is_an_empty_map(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text("# nothing\n")
    assert read_yaml(path).data == {}


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=6), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), plain, max_size=4))
def test_written_values_are_read_back(mapping):
    assert parse_yaml(to_yaml(mapping), "f").data == mapping


def test_override_replaces_and_makes_maps():
    before = {"a": {"b": [{"c": 1}, 2]}, "d": 3}
    assert override(before, "a.b[0].c", 5) == {"a": {"b": [{"c": 5}, 2]}, "d": 3}
    assert override(before, "a.b.1", 5)["a"]["b"] == [{"c": 1}, 5]
    assert override(before, "e.f", 5)["e"] == {"f": 5}
    assert before == {"a": {"b": [{"c": 1}, 2]}, "d": 3}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("d.e", "--set d.e: d is the number 3, not a map; nothing can be set below it"),
        ("a.b[7].c", "--set a.b[7].c: a.b is a list of 2; expected a position from 0 to 1, got 7"),
        ("a.b.x", "--set a.b.x: a.b is a list of 2; expected a position from 0 to 1, got 'x'"),
        ("a..b", "--set a..b: expected names joined by dots, for example forward.out_bound"),
    ],
)
def test_override_mistakes(path: str, message: str):
    with pytest.raises(InputError) as error:
        override({"a": {"b": [{"c": 1}, 2]}, "d": 3}, path, 0)
    assert str(error.value) == message


def test_settings_are_told_as_such():
    document = parse_yaml("a: {b: 1}\n", "f.yaml").override("a.b", {"c": 2}, "--set device.")
    assert str(document.error(("a", "b"), "wrong")) == "--set device.a.b: wrong"
    assert str(document.error(("a", "b", "c"), "wrong")) == "--set device.a.b (at a.b.c): wrong"
    assert str(document.error(("a",), "wrong")) == "f.yaml:1: a: wrong"
    assert str(document.error(("z",), "wrong")) == "f.yaml: z: wrong"
    assert str(document.error((), "wrong")) == "f.yaml: wrong"


def test_a_setting_is_parsed_like_a_file():
    assert parse_setting("a.b=1e-3") == ("a.b", 1e-3)
    assert parse_setting("a=x=y") == ("a", "x=y")
    assert parse_setting("a={b: [1, no]}") == ("a", {"b": [1, "no"]})
    assert parse_value("", "x") is None
    with pytest.raises(InputError, match=r"expected key\.path=value"):
        parse_setting("a.b")


def test_suggestions_see_through_case_and_underscores():
    assert did_you_mean("AbsMax", ["NONE", "ABS_MAX", "MAX"]) == "; did you mean 'ABS_MAX'?"
    assert did_you_mean("zzz", ["NONE"]) == "."


def test_a_section_must_be_a_map():
    document = Document({"a": [1], "b": None}, "f.yaml", {("a",): 4})
    assert document.section("b") == {}
    with pytest.raises(InputError, match=r"f\.yaml:4: a: expected a map of keys and values, got a list"):
        document.section("a")
