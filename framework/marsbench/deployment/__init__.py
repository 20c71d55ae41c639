"""A fitted pipeline as files: bundles, model formats, prediction."""
