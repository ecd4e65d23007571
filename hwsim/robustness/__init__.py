"""Robustness: threat models, attacks, corruptions and the checks that unmask false robustness.

Jobs that run them and keep their results belong to ``experiments``; nothing here reads a file or a clock.
"""
