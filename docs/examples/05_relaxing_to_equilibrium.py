"""
Relaxing to equilibrium
=======================

The same network from the same start, by several solvers: energy and residual sweep by sweep. All end in the same state;
how long they take differs.
"""

import matplotlib.pyplot as plt

import hwsim as hw

data = hw.load_data("digits")
net = hw.hopfield([64, 128, 64, 10], seed=1)
energy = net.given(data.test.x[:64])

solvers = {
    "synchronous, half steps": hw.Synchronous(0.5),
    "odd-even": hw.OddEven(),
    "odd-even, factor 1.3": hw.OddEven(1.3),
    "up-down": hw.UpDown(),
}

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
lowest = hw.settle(energy, energy.start(), solver=hw.UpDown(), phase=hw.Phase(500, tolerance=1e-7, stop_early=True))
bottom = energy.value(lowest.state).mean().item()
for name, solver in solvers.items():
    energies, last, moves = [], [energy.start()], []

    def watch(step, state, energies=energies, last=last, moves=moves):
        energies.append(energy.value(state).mean().item() - bottom)
        moves.append(max((a - b).abs().max().item() for a, b in zip(state, last[0], strict=True)))
        last[0] = state

    hw.settle(energy, energy.start(), solver=solver, phase=hw.Phase(40), watch=watch)
    left.semilogy([max(e, 1e-7) for e in energies], label=name)
    right.semilogy([max(m, 1e-8) for m in moves], label=name)
left.set(xlabel="sweep", ylabel="energy above the lowest", title="Energy")
right.set(xlabel="sweep", ylabel="largest move of a unit", title="Residual")
right.legend(fontsize=8)
plt.show()

# %%
# How each example ended is data.

settled = hw.settle(energy, energy.start(), solver=hw.OddEven(), phase=hw.Phase(10, tolerance=1e-3))
print({outcome.name: int((settled.outcome == outcome).sum()) for outcome in hw.Outcome})
