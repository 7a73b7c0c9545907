"""8-bit artifacts: number types, calibration, placement, export."""
