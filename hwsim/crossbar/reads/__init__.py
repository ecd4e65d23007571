"""Reads of an array: converters, vectors, image patches and the windows of a convolution.

What an update does belongs one room up.
"""
