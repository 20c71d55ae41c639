"""The driver: plans units, hands them to execution, writes runs. It never trains."""

from marsbench.runner.driver import run

__all__ = ["run"]
