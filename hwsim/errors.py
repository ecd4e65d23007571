"""The two ways a job ends badly: the user's mistake (exit code 2) and work that failed (exit code 1)."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used; the message says where, what was found, what is expected.

    >>> import hwsim as hw
    >>> try:
    ...     hw.hopfield([64])
    ... except hw.InputError as error:
    ...     print(str(error).partition(":")[0])
    network.layers
    """


class NotCovered(InputError, NotImplementedError):
    """Something the user gave is valid elsewhere and not had here; the message says what, and where it can be had."""


class WorkError(RuntimeError):
    """Work that was asked for correctly and failed (a full disk, a diverged training); nothing finished is lost.

    >>> import hwsim as hw
    >>> net, rule, data = hw.hopfield([64, 16, 10]), hw.EquilibriumProp(), hw.load_data("digits").validation
    >>> try:
    ...     hw.train(net, rule, data, rates=1e30, epochs=1)
    ... except hw.WorkError as error:
    ...     print(str(error).partition(",")[0])
    training diverged in epoch 1
    """
