"""Natural corruptions and input noise on one model."""
