"""What `import marsbench` offers: the command line's work as functions."""
