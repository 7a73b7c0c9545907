"""The mark for tests that read real data: skipped with the reason where there is none."""

import os

import pytest

needs_data = pytest.mark.skipif(
    not os.environ.get("COMPACTOR_DATA"),
    reason="COMPACTOR_DATA is not set; it must point at a folder with the data sets",
)
