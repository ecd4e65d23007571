"""aihwkit's devices as synapses; the only package that imports aihwkit.

``AihwDevice`` for devices that are trained by pulses, ``AihwInferenceDevice`` for those that are programmed once,
``device_of(config)`` for whichever fits. ``check_pair`` says whether the installed aihwkit and torch work together;
it is in ``hwsim.aihw.pair``, which imports neither.
"""

from __future__ import annotations

from typing import Any

from aihwkit.simulator.configs import InferenceRPUConfig

from hwsim.aihw.inference import AihwInferenceDevice, AihwInferenceSynapse
from hwsim.aihw.pair import check_pair
from hwsim.aihw.synapse import AihwDevice, AihwSynapse

__all__ = ["AihwDevice", "AihwInferenceDevice", "AihwInferenceSynapse", "AihwSynapse", "check_pair", "device_of"]


def device_of(config: Any) -> AihwDevice | AihwInferenceDevice:
    """The device that an aihwkit configuration describes. Raises InputError for what is not simulated."""
    return AihwInferenceDevice(config) if isinstance(config, InferenceRPUConfig) else AihwDevice(config)
