"""Where work is done: in this process, in local worker processes, on a Dask cluster.

`executor.open_executor` chooses; the driver knows only `task.Executor`.
"""
