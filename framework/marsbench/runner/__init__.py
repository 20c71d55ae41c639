"""The driver: plans units, hands them to execution, writes runs; and what can be told of runs on disk."""
