"""Finished runs as pictures and as a page."""
