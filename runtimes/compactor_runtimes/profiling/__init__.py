"""Profile bundles on this machine: what `compactor measure` does, from bundles to a MachineProfile."""
