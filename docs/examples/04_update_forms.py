"""
Why the form of an update decides
=================================

Equilibrium propagation asks for a difference of two products. Written one after the other, two large pulse trains that
should cancel wear a device whose up and down steps differ; written as differences, they do not.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch

import hwsim as hw


@dataclass(frozen=True)
class Soft(hw.BaseCell):
    """Steps shrink towards the bound that they go to."""

    def pulse(self, g, up, rng):
        return self.dw_min * ((self.w_max - g) if up else (self.w_min - g))


def worn(form: str, steps: int = 200) -> list[float]:
    """A weight of 0.5 whose gradient is zero, step by step: both phases see the same two units, active at 0.8."""
    array = hw.CellDevice(Soft(dw_min=2e-3)).synapse(1, 1, hw.Streams(0))
    array.program(torch.tensor([[0.5]]))
    post, pre = torch.tensor([[0.8]]), torch.tensor([[0.8]])
    weights = []
    for _ in range(steps):
        if form == "two-phase":
            array.update(pre, post, 0.1)
            array.update(pre, -post, 0.1)
        else:
            array.update(2 * pre, post - post, 0.05)
            array.update(pre - pre, 2 * post, 0.05)
        weights.append(array.weight().item())
    return weights


figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
for form in ("difference", "two-phase"):
    axes.plot(worn(form), label=form)
axes.set(
    xlabel="training step with a gradient of zero", ylabel="weight", title="What nothing to learn does to a weight"
)
axes.legend()
plt.show()

# %%
# The default is the difference. A run shows what the others do: ``--set in_situ.update_form=two-phase``.
