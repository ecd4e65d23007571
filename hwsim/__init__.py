"""hwsim: energy-based models on simulated resistive crossbars, trained by equilibrium propagation.

``import hwsim as hw`` is the public API, and all of it: the names of ``__init__.pyi``. They are loaded when they are
first used, so that the import, and ``hwsim --help``, load neither torch nor aihwkit. The rooms behind them may change.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
