"""Plots of finished runs."""
