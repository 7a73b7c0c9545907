"""What stands in for npm in tests that are not about it."""

from compactor_exporters.deploy import npm


def vendor_nothing(monkeypatch):
    """Vendored files of a few bytes."""

    def fetch(package):
        return {name.rpartition("/")[2]: b"// " + package.name.encode() for name in package.files}

    monkeypatch.setattr(npm, "fetch", fetch)
