"""A card's configuration as Python: run, it is the same configuration to the last field."""

from __future__ import annotations

import pytest

from hwsim.cards.device import read_device
from hwsim.cards.export_python import _equal, python_of
from hwsim.cards.listing import list_devices
from hwsim.errors import InputError

AIHWKIT = [item.name for item in list_devices() if hasattr(read_device(item.name).device, "config")]
"""All of the shelf but float, python cells and arrays around a device, which aihwkit has no configuration for."""


@pytest.mark.parametrize("name", AIHWKIT)
def test_the_exported_python_builds_the_same_configuration(name: str) -> None:
    card = read_device(name)
    scope: dict[str, object] = {}
    exec(compile(python_of(card), name, "exec"), scope)
    assert _equal(scope["rpu_config"], card.device.config)


def test_most_of_the_shelf_is_exported() -> None:
    assert {"ecram", "pcm-inference", "reram-sb", "tiki-taka-reram-sb"} <= set(AIHWKIT)


def test_another_value_is_another_configuration() -> None:
    card, other = read_device("ecram"), read_device("ecram", [("forward.out_noise", 0.3)])
    scope: dict[str, object] = {}
    exec(compile(python_of(other), "ecram", "exec"), scope)
    assert not _equal(scope["rpu_config"], card.device.config)


def test_what_aihwkit_does_not_simulate_is_said() -> None:
    with pytest.raises(InputError, match=r"soft-bounds-cell: is a .* device, which aihwkit has no configuration for"):
        python_of(read_device("soft-bounds-cell"))
