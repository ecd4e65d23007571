"""Checks that unmask: signs that an attack failed where a model seems to resist.

After Athalye et al. 2018 (arXiv 1802.00420) and Carlini et al. 2019 (arXiv 1902.06705), with what equilibria and
noisy hardware add. ``unmask`` makes them all. Where one fails, the figure is an upper bound.
"""
