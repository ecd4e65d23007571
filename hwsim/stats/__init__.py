"""Statistics of results: intervals, thresholds and paired tests.

Nothing here knows what was measured.
"""
