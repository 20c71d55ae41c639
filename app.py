"""The page of the winner's bundle, where `bench search` and `bench export` write it: streamlit run app.py."""

import sys

from marsbench.app import page

page.show(page.parse_options(sys.argv[1:] or ["bundle"]))
