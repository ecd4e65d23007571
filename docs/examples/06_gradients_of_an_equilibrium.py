"""
The gradient of an equilibrium, four ways
=========================================

By equilibrium propagation at several strengths of the nudge, and by the exact gradient at equilibrium. In the limit of
a weak nudge they are the same; how fast they come together is the order of the method.
"""

import matplotlib.pyplot as plt
import torch

import hwsim as hw

data = hw.load_data("digits")
x, y = data.train.x[:64], data.train.y[:64]
deep = hw.Phase(400, tolerance=1e-7, stop_early=True)


def update(rule: hw.LearningRule) -> torch.Tensor:
    """What one step at rate 1 adds to the first layer's weights."""
    net = hw.hopfield([64, 32, 10], seed=0)
    before = net.weights()[0]
    rule.step(net, hw.SquaredError(), x, y, [1.0, 1.0], torch.Generator().manual_seed(0))
    return (net.weights()[0] - before).flatten()


exact = update(hw.ExactGradient())
betas = [1.0, 0.5, 0.2, 0.1, 0.05]
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for nudge in ("centred", "one-sided"):
    errors = []
    for beta in betas:
        direction = update(hw.EquilibriumProp(beta, nudge, free=deep, nudged=deep, solver=hw.OddEven()))
        errors.append(((direction - exact).norm() / exact.norm()).item())
    axes.loglog(betas, errors, "o-", label=nudge)
axes.set(
    xlabel="strength of the nudge, beta",
    ylabel="relative error",
    title="Equilibrium propagation and the exact gradient",
)
axes.legend()
plt.show()
