"""Where the tasks of a child with many rooms run: threads, greenlets, coroutines."""
