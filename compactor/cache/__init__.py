"""What is kept between runs: cache keys, the folders that they name, and a run's journal."""
