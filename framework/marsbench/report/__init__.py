"""Runs, leaderboards and corpora for readers: terminal, Markdown, HTML, JSON and CSV."""
