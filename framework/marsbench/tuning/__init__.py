"""The search for a pipeline's best configuration, inside a fold's training clips."""
