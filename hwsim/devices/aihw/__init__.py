"""aihwkit's devices as synapses; the only package that imports aihwkit.

``AihwDevice`` for devices that are trained by pulses, ``AihwInferenceDevice`` for those that are programmed once,
``device_of(config)`` for whichever fits. ``check_pair`` says whether the installed aihwkit and torch work together. It
needs neither of them: aihwkit is imported with the first name that needs it, and only after the pair was checked.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hwsim.devices.aihw.pair import check_pair

if TYPE_CHECKING:
    from hwsim.devices.aihw.device import AihwDevice
    from hwsim.devices.aihw.inference import AihwInferenceDevice, AihwInferenceSynapse, device_of
    from hwsim.devices.aihw.synapse import AihwSynapse

__all__ = ["AihwDevice", "AihwInferenceDevice", "AihwInferenceSynapse", "AihwSynapse", "check_pair", "device_of"]

_HOME = {
    "AihwDevice": "device",
    "AihwSynapse": "synapse",
    "AihwInferenceDevice": "inference",
    "AihwInferenceSynapse": "inference",
    "device_of": "inference",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_pair()
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
