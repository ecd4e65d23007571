"""Studies: configuration, plug-ins, data, runs and their reports."""
