"""Nothing yet."""


def vendor_nothing(monkeypatch):
    pass
