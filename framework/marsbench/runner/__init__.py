"""The driving process: makes runs, reads what is finished, and fits finished runs again."""
