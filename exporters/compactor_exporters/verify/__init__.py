"""Whether an artifact computes what the student computes, and is accurate enough to ship."""
