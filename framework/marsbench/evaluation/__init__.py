"""Fits and their scores."""
