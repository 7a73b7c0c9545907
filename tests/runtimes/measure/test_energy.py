"""The meter of energy, on fake folders of the kernel's."""

import pytest

from compactor_runtimes.measure.energy import open_meter


@pytest.fixture
def domain(tmp_path):
    """Write one domain's files: what it is called, what it counted so far, and where it begins again."""

    def write(folder, name, energy, span=1_000_000_000):
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        (place / "name").write_text(f"{name}\n")
        (place / "energy_uj").write_text(f"{energy}\n")
        (place / "max_energy_range_uj").write_text(f"{span}\n")

    return write


def test_packages_add_up_and_their_parts_do_not_count_twice(tmp_path, domain):
    domain("intel-rapl:0", "package-0", 5_000_000)
    domain("intel-rapl:1", "package-1", 1_000_000)
    domain("intel-rapl:0:0", "core", 100)
    domain("intel-rapl:2", "psys", 100)
    domain("intel-rapl-mmio:0", "package-0", 5_000_000)
    meter = open_meter(tmp_path)
    assert meter.joules() == 0.0
    domain("intel-rapl:0", "package-0", 7_000_000)
    domain("intel-rapl:1", "package-1", 1_500_000)
    for other in ("intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
        domain(other, "core", 900_000_000)
    assert meter.joules() == pytest.approx(2.5)
    assert meter.joules() == pytest.approx(2.5)  # nothing was used since


def test_a_counter_that_began_again_goes_on(tmp_path, domain):
    domain("intel-rapl:0", "package-0", 9_000_000, 10_000_000)
    meter = open_meter(tmp_path)
    domain("intel-rapl:0", "package-0", 2_000_000, 10_000_000)
    assert meter.joules() == pytest.approx(3.0)
    domain("intel-rapl:0", "package-0", 1_000_000, 10_000_000)
    assert meter.joules() == pytest.approx(12.0)


def test_without_counters_there_is_no_meter(tmp_path, domain):
    assert open_meter(tmp_path) is None
    assert open_meter(tmp_path / "none") is None
    domain("intel-rapl:0", "core", 1)
    assert open_meter(tmp_path) is None
    domain("intel-rapl:1", "package-0", "nonsense")
    assert open_meter(tmp_path) is None
    (tmp_path / "intel-rapl:1/energy_uj").unlink()  # as it looks to who may not read it
    assert open_meter(tmp_path) is None
