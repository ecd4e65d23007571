"""
A memristor from its equation
=============================

A device of one's own is one small class: the mean change of conductance by one pulse. Spread, noise, bounds, pulse
trains, converters and both read directions come with it.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch

import hwsim as hw


@dataclass(frozen=True)
class Film(hw.BaseCell):
    """Ions that drift through a film: steps vanish at both ends (after Strukov et al. 2008)."""

    steepness: float = 2.0

    def pulse(self, g, up, rng):
        place = (g - self.w_min) / (self.w_max - self.w_min)
        window = 1 - ((1 - place) if up else place) ** 0 * (place if up else 1 - place) ** self.steepness
        return (1 if up else -1) * self.dw_min * window


cell = Film(dw_min=0.02, dw_min_std=0.3, dw_min_dtod=0.2)

# %%
# A hundred pulses up and a hundred down, on forty devices.

rng = torch.Generator().manual_seed(0)
g, ways = torch.zeros(40, 1), []
for up in [True] * 100 + [False] * 100:
    one, none = torch.ones_like(g), torch.zeros_like(g)
    g = cell.step(g, one if up else none, none if up else one, rng)
    ways.append(g.flatten())
ways = torch.stack(ways)

figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
axes.plot(ways, color="0.8", linewidth=0.6)
axes.plot(ways.mean(1), color="#0072B2")
axes.set(xlabel="pulse", ylabel="conductance (cell's unit)", title="Forty devices and their mean")
plt.show()

# %%
# It learns at once.

data = hw.load_data("digits")
net = hw.hopfield([64, 64, 10], hw.CellDevice(Film(dw_min=2e-3, dw_min_std=0.3)), seed=0)
rule = hw.EquilibriumProp(beta=1.0, free=hw.Phase(15, 4), nudged=hw.Phase(8, 4), solver=hw.Synchronous(0.5))
hw.train(net, rule, data.train, rates=[0.5, 0.25], epochs=3, seed=0)
print("accuracy after three epochs:", hw.accuracy(net, data.test))
