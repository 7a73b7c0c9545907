"""From a finished student to a bundle and a report: export, gates, measurement, truth, packing."""
