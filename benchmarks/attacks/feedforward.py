"""The plain network beside the energy-based one: the same widths, no feedback, trained by backpropagation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class FeedForward(torch.nn.Module):
    """64-128-10 with rectified units; images (B, 1, 8, 8) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(64, 128)
        self.output = torch.nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(x.flatten(1)).relu())


def trained(x: Tensor, y: Tensor, seed: int, epochs: int = 20) -> FeedForward:
    """Cross-entropy, SGD with momentum 0.9, batch 32 and a cosine rate, as the other networks have them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = FeedForward()
    rng = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=rng).split(32):
            optimiser.zero_grad()
            functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimiser.step()
        schedule.step()
    return net.eval()
