"""hwsim: energy-based models on simulated resistive crossbars, trained by equilibrium propagation."""

__version__ = "0.1.0"
