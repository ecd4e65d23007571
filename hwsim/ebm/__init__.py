"""Energy-based models: energies, costs, links between layers, and the solvers that settle a state.

Nothing here knows how a network is trained or what its arrays are made of.
"""
