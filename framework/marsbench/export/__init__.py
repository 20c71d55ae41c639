"""From a run to a bundle: the winning configuration, fitted on every clip."""
