"""Device models: what a pulse does to one cell, aihwkit's tiles, and the fit of a cell to measured pulses.

Arrays belong to ``crossbar``, device cards to ``cards``; nothing here reads a file or a clock.
"""
