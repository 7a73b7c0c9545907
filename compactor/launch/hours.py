"""Times as people say them."""


def hours(seconds: float) -> str:
    """`42 s`, `3 min 5 s` or `7 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
