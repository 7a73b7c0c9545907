"""Serve bundles over HTTP; `run.py` starts it, one file an idea. Nothing here imports compactor or torch."""
