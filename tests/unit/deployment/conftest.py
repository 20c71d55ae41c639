"""Fixtures of deployment."""

from fixtures.bundle import bundle, corpus, folder, registry  # noqa: F401 - fixtures
from fixtures.tuning import fits, tuned, undrawn, usual_results  # noqa: F401 - fixtures
