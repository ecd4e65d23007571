"""Data sets: where images come from, how their files are read, and how they are split.

What is done with the images belongs elsewhere.
"""
