"""Check engines on the NVIDIA GPU of this machine."""
