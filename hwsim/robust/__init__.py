"""Robustness: threat models, attacks, corruptions and the checks that unmask false robustness."""
