"""From a corpus and a time to a winner: which pipelines get fits, trials, and a place in the ensemble."""
