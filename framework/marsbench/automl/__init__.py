"""The search (`bench search`): which pipelines get fits, trials, and a place in the ensemble."""
