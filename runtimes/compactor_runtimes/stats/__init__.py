"""Statistics: scores, paired tests, percentiles, and what was answered, kept for later pairing."""
