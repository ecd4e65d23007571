"""What is asked of aihwkit's compiled tile itself: a read with its gradient, and a state that can be taken up again."""

from __future__ import annotations

import json
from typing import Any, cast

import torch
from torch import Tensor


def tile_state(analog: Any) -> dict[str, Tensor]:
    """Scales, hidden parameters and counters of an aihwkit tile; its weights are kept beside them, as ``raw``."""
    scales = analog.get_mapping_scales()
    return {
        "scales": torch.zeros(0) if scales is None else scales.detach().clone(),
        "hidden": analog.tile.get_hidden_parameters().detach().clone(),
        "extra": torch.tensor(list(json.dumps(analog.tile.dump_extra()).encode()), dtype=torch.uint8),
    }


def restore_tile(analog: Any, state: dict[str, Tensor]) -> None:
    """Take up ``tile_state`` and ``raw``; ``AihwDevice.not_exact`` says what cannot be. ValueError for another tile."""
    tile, raw = analog.tile, state["raw"]
    names, hidden = tile.get_hidden_parameter_names(), state["hidden"].clone()
    if hidden.shape != tile.get_hidden_parameters().shape:
        raise ValueError(
            f"saved state of a compiled tile: expected {len(names)} hidden parameters of {tuple(raw.shape)}"
        )
    for i, name in enumerate(names):
        # Setting a weight makes it the persistent one and draws new write noise around it, so set the persistent.
        # (Inside compounds that happens twice, and the persistent ones are off by one draw: ``not_exact``.)
        if name.startswith("persistent_weights"):
            which = name.removeprefix("persistent_weights")
            if "hidden_weights" + which in names:
                hidden[names.index("hidden_weights" + which)] = hidden[i]
            else:
                raw = hidden[i]
    if state["scales"].numel():
        analog.set_mapping_scales(state["scales"].clone())
    tile.set_weights(raw.contiguous())
    if names:
        tile.set_hidden_parameters(hidden)
    if names and raw is not state["raw"]:
        tile.set_weights(raw.contiguous())
    extra = json.loads(bytes(state["extra"].tolist()))
    if extra:
        tile.load_extra(extra, True)


def move_to(analog: Any, weight: Tensor) -> None:
    """Bring the weights of a tile to ``weight`` (post, pre); fast arrays beside them stay.

    In a transfer compound the slow device, which is the last one, makes the change. Write noise is drawn anew.
    """
    tile = analog.tile
    names, hidden = tile.get_hidden_parameter_names(), tile.get_hidden_parameters().detach().clone()
    devices = [i for i, name in enumerate(names) if name.startswith("hidden_weights_") and name[-1].isdigit()]
    if devices:
        hidden[devices[-1]] += weight - tile.get_weights().detach()
    extra = tile.dump_extra() if devices else None  # counters of transfers, which setting a weight resets
    tile.set_weights(weight.contiguous())
    if devices:
        tile.set_hidden_parameters(hidden)
    if extra:
        tile.load_extra(extra, True)


def compiled_read(x: Tensor, tile: Any, *, transpose: bool) -> Tensor:
    """(B, n) -> (B, m): a read by the compiled tile, unseeded; ``transpose``: in the other direction."""
    return cast(Tensor, _CompiledRead.apply(x, tile, transpose))


class _CompiledRead(torch.autograd.Function):
    """A read by the compiled tile; its gradient is the read in the other direction, on the same devices."""

    @staticmethod
    def forward(ctx, x, tile, transpose):
        ctx.tile, ctx.transpose = tile, transpose
        x = x.detach().contiguous()
        if transpose:
            return tile.backward(x, False, False, False, False)
        return tile.forward(x, False, False, False, True, False)

    @staticmethod
    def backward(ctx, *grad_outputs):
        return _CompiledRead.apply(grad_outputs[0], ctx.tile, not ctx.transpose), None, None
