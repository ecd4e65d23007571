"""Attacks on one model, float or on device instances, with the checks that unmask them."""
