"""`device new`: the folder of a device of one's own, commented, that runs before a line of it is changed."""

from __future__ import annotations

import re
from pathlib import Path

from hwsim.cards.shelf import CARDS
from hwsim.errors import InputError
from hwsim.jobs.store import write_text

_CARD = """\
# The device `@NAME@`. Every key is checked; `hwsim device show @PATH@` prints what it stands for, defaults included.
name: @NAME@
summary: A device of my own                      # one line for `hwsim device list` and the reports
source: where the equation and its parameters come from

cell: ./cell.py:@CLASS@            # the class in the file beside this one; its fields are the parameters below

# Conductances are in the cell's own unit. A parameter X may have a relative spread from device to device, X_dtod;
# dw_min_std is the spread from pulse to pulse, relative to the step.
parameters:
  w_max: 1.0             # highest and lowest conductance; weight 0 is `reference`, 0 unless you give it
  w_max_dtod: 0.1
  w_min: -1.0
  w_min_dtod: 0.1
  dw_min: 0.002          # step of one pulse in the middle of the range: about 1,000 of them across it
  dw_min_dtod: 0.1
  dw_min_std: 0.3
  nonlinearity: 1.0      # the parameter that cell.py adds
  # read_noise: 0.01     # standard deviation of each read of a conductance
  # lifetime: 1000       # training steps until 1/e of a conductance has leaked away
  # drift_nu: 0.05       # after t seconds, w_min + (g - w_min) t^-nu

# Converters and noise around the array; delete a line and that effect is gone. The transpose read goes through the
# same; give `backward:` where it does not.
forward:
  inp_bound: 1.0
  inp_res: 7bit          # digital-to-analog converter
  out_bound: 12.0        # range of the analog-to-digital converter, in full-scale cross-points
  out_res: 9bit
  out_noise: 0.1         # on every output line

update:
  desired_bl: 31         # most pulses for one sample

mapping:
  omega: 0.4             # the largest weight of an array is written as this conductance; 0: as it is

# The recipe that trains it, over the model's own; smaller rates if up and down steps differ much.
learning:
  rate_scale: 0.5
"""

_CELL = '''\
"""What one pulse does to a conductance of @NAME@."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim import BaseCell


@dataclass(frozen=True)
class @CLASS@(BaseCell):
    """Steps that shrink exponentially on the way to the bound that they move to.

    Every field is a parameter of rpu-config.yaml. A field X that has a twin X_dtod is drawn for every cross-point;
    inside the methods ``self.X`` then is a tensor of the array's shape. ``dw_min``, ``w_max``, ``w_min``, noise, leak
    and drift come with ``BaseCell``, which also adds the noise of each pulse and keeps g within the bounds.
    """

    nonlinearity: float = 1.0
    nonlinearity_dtod: float = 0.0

    def pulse(self, g: Tensor, up: bool, rng: torch.Generator) -> Tensor:
        """(post, pre) -> (post, pre): mean change of g by one pulse up or down. Put your equation here."""
        del rng  # draw any noise of your own from it, and from nothing else: then runs repeat under their seed
        x = (g - self.w_min) / (self.w_max - self.w_min)  # 0 at the lower bound, 1 at the upper
        travelled = x if up else 1 - x
        step = self.dw_min * torch.exp(-self.nonlinearity * (travelled - 0.5))
        return step if up else -step
'''

_README = """\
# @NAME@

What the device is, who measured it, and what its equation leaves out.

    hwsim device validate @PATH@     # the conformance suite
    hwsim device plot @PATH@         # pulse response, steps, noise, one picture
    hwsim run --device @PATH@        # its accuracy, trained in situ

- **Source:** paper or data set.

## Effects that are modelled

- Steps that shrink exponentially towards the bounds; spread from device to device and from pulse to pulse.
- Reads in both directions: 7-bit DAC, 9-bit ADC with range 12, Gaussian output noise 0.1.

## Seeding

Exact: device variation, pulses and reads are drawn from seeded streams, so a run repeats bit for bit under its seed.
"""


def write_skeleton(name: str, out: Path) -> Path:
    """Write ``out/name`` with rpu-config.yaml, cell.py and README.md, and return that folder.

    Raises InputError for a name that is none, and where something is there already.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise InputError(f"device new {name!r}: expected letters, digits, - and _, a letter first")
    folder = out / name
    if folder.exists():
        raise InputError(f"{folder}: exists; give another name or another --out, nothing was written")
    words = [word[:1].upper() + word[1:] for word in re.split(r"[-_]+", name) if word]
    filled = {"@NAME@": name, "@CLASS@": "".join(words), "@PATH@": str(folder)}
    # The card comes last: what makes the folder a device is there only once all of it is.
    for file, text in (("cell.py", _CELL), ("README.md", _README), (CARDS["devices"], _CARD)):
        for placeholder, value in filled.items():
            text = text.replace(placeholder, value)
        write_text(folder / file, text)
    return folder
