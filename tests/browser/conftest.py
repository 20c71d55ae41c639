"""Fixtures of the page, the report and made runs."""

from fixtures.app import browser, bundle, clip, clips, corpus, folder, place, served  # noqa: F401 - fixtures
from fixtures.made_runs import finished_run, serve  # noqa: F401 - fixtures
from fixtures.report import page_of, tags, told_run  # noqa: F401 - fixtures
