"""Natural corruptions of images, drawn from a generator.

Attacks, which look for the worst image, belong one room up.
"""
