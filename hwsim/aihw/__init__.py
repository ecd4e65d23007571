"""aihwkit's devices as synapses; the only package that imports aihwkit.

``AihwDevice`` for devices that are trained by pulses, ``AihwInferenceDevice`` for those that are programmed once,
``device_of(config)`` for whichever fits. ``check_pair`` says whether the installed aihwkit and torch work together.
"""

from __future__ import annotations

from hwsim.aihw.pair import check_pair
from hwsim.aihw.synapse import AihwDevice, AihwSynapse

__all__ = ["AihwDevice", "AihwSynapse", "check_pair"]
