"""Every system that is measured, one file each: its tasks, how its worker is started, how it is called.

Each file runs in its own environment and gives

    worker(processes) -> list[str]   the command of a worker with so many processes
    enqueue(n)                       call `append` n times, one after another
    load(n)                          the same, by the fastest way that the system has
    stamp()                          call `stamp` once
    round_trip()                     call `append` once and wait for its result (only with BENCH_RESULTS=1)

and, where it can, `nap(n, seconds)` for coroutines that wait and `spin(n, seconds)` for tasks that compute.
Settings are each system's own defaults, except that its log is quiet.
"""
