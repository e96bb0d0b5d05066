"""The worker: a supervisor that keeps the lease and its children, and children that fetch, run and settle."""
