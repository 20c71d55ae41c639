"""Where tasks run: in this process, in worker processes of this machine, on a Dask cluster.

`executor.open_executor` chooses; everything else knows only `base.Executor`. `scheduler` runs the functions
that submit the tasks.
"""
