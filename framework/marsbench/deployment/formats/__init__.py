"""A bundle's model as one file, one module a format."""
