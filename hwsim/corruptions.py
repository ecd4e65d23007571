"""Corruptions of images beside ``corrupt``: their names, plain noise, published sets of files; nothing else.

>>> import hwsim as hw
>>> len(hw.corruptions.COMMON), len(hw.corruptions.CORRUPTIONS), hw.corruptions.SEVERITIES
(15, 19, (1, 2, 3, 4, 5))
"""

from hwsim.data.dataset import load_corrupted
from hwsim.robustness.corruptions.corruptions import (
    COMMON,
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
    input_noise,
    salt_and_pepper,
)
from hwsim.robustness.scores import mce, mean_corruption_accuracy, relative_mce

__all__ = [
    "COMMON",
    "CORRUPTIONS",
    "SEVERITIES",
    "corrupt",
    "input_noise",
    "load_corrupted",
    "mce",
    "mean_corruption_accuracy",
    "relative_mce",
    "salt_and_pepper",
]
