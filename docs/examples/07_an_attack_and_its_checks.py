"""
An attack, the checks, and a masker that they catch
===================================================

A model that only hides its gradient looks robust. The checks try to do better than the attack did; where one succeeds,
the reported accuracy is an upper bound, and says so.
"""

import matplotlib.pyplot as plt
import torch

import hwsim as hw

data = hw.load_data("digits")
net = hw.hopfield([64, 64, 10], seed=0)
rule = hw.EquilibriumProp(beta=0.5, solver=hw.OddEven())
hw.train(net, rule, data.train, rates=[0.5, 0.2], epochs=5, seed=0)
images = data.test[:100]

honest = hw.attack(net, images, ["linf:0.05", "linf:0.1", "linf:0.2"], attacks="quick", seed=0)
for budget, share in honest.reported.items():
    print(f"left at {budget}: {share}")
print("failed checks:", honest.failed_checks)


# %%
# A module that rounds its input: the gradient is zero almost everywhere, and PGD finds nothing.
class Rounded(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(64, 64), torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first((x.flatten(1) * 4).round() / 4)))


masker = Rounded()
optimiser = torch.optim.Adam(masker.parameters(), 1e-2)
for _ in range(100):
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(masker(data.train.x), data.train.y).backward()
    optimiser.step()
hidden = hw.attack(masker.eval(), images, ["linf:0.1"], attacks="quick", seed=0)
for budget, share in hidden.reported.items():
    print(f"left at {budget}, at most: {share}")
    for check in hidden.failed_checks[budget]:
        print(f"- {check.name}: {check.meaning}")
assert hidden.failed_checks, "the checks catch a rounded input"

figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
budgets = [float(name.partition(":")[2]) for name in honest.reported]
for mark, part in (("o-", "mean"), ("k:", "low"), ("k:", "high")):
    axes.plot(budgets, [100 * getattr(share, part) for share in honest.reported.values()], mark)
axes.set(xlabel="budget (Linf)", ylabel="accuracy under attack (%)", title="It falls to nothing, as it must")
plt.show()
