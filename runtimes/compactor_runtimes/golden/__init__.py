"""Golden cases: re-run what a bundle answered when it was made, and judge what differs."""
