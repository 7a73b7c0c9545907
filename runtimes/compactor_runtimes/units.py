"""Write quantities as people read them."""


def scaled(value: float, unit: str) -> str:
    """Three digits with a decimal prefix: 272474 -> `272 k`, 1.27e9 B -> `1.27 GB`."""
    for scale, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 0.9995 of a prefix would round up to 1000 of the smaller one
        if value >= 0.9995 * scale:
            part = value / scale
            return f"{part:.{2 if part < 9.995 else 1 if part < 99.95 else 0}f} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()
