"""A measurement of given times, for tests that read measurements."""

from compactor_runtimes.measure.measurement import Measurement


def measurement(subject, scope, scenario, samples_ns, **changes):
    """All in one block and valid, unless `changes` say otherwise."""
    fields = {
        "subject": subject,
        "subject_digest": "d",
        "scope": scope,
        "scenario": scenario,
        "batch": 32 if scenario == "offline" else 1,
        "sample_set_digest": "s",
        "threads": None,
        "provider": "CPUExecutionProvider",
        "samples_ns": samples_ns,
        "blocks": [0] * len(samples_ns),
        "load_s": 0.5,
        "rss_bytes": 48_000_000,
        "pss_bytes": None,
        "environment": {},
        "valid": not changes.get("reasons"),
        "reasons": [],
    }
    return Measurement(**fields | changes)


def blocks_of(subject, *blocks_us, scope="compute", **changes):
    """Single samples, two a block, both of them the block's median in microseconds."""
    samples = [1000 * block for block in blocks_us for _ in range(2)]
    blocks = [number for number in range(len(blocks_us)) for _ in range(2)]
    return measurement(subject, scope, "single-stream", samples, blocks=blocks, **changes)
