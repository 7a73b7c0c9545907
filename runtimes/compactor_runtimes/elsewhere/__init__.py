"""Measure on another machine: the table of `--on` (`target.py`), and a file for each way to get there."""
