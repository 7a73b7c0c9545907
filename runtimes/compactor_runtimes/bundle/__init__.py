"""The bundle: what its manifest says, and opening it safely."""
