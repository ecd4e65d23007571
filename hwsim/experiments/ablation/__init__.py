"""Learning in situ with one non-ideality of a device removed at a time."""
