"""Pages and figures of results, one file for each kind of job.

Nothing here measures or computes a result; it shows what ``experiments`` left.
"""
