"""What every job has: its folder, its files, its receipt, its checkpoints, and processes that run it.

No physics, and nothing of what a particular job measures, belongs here.
"""
