"""The jobs themselves, one room each: what they measure, how they go on, and their results as data.

Pages and pictures of results belong to ``reports``.
"""
