"""Cards: YAML of devices, models, recipes and arrays, checked key by key and built into objects.

Work that takes long, and folders of results, belong to ``jobs`` and ``experiments``.
"""
