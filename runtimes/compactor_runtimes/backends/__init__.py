"""One file for each runtime, each with `open_runtime(source, *, threads) -> Runtime`."""
