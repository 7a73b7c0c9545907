"""Speed and quality of Compactor, measured: suites, peers and committed results. Not shipped."""
