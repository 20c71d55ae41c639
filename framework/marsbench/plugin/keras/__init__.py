"""Keras models as plugins."""
