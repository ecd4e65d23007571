"""Learning rules and gradients of an equilibrium: equilibrium propagation, the exact gradient, and ways between them.

Attacks belong to ``robustness``, recipes to ``cards``; nothing here reads a file or a clock.
"""
