"""The words of time ratios, alike in the terminal and in Markdown."""

from compactor_runtimes.compare.comparison import Cost, Ratio

_TIME_WORDS = {"noise": "inside the noise", "better": "faster", "worse": "slower"}
INVALID = "INVALID, no verdict"


def timed_words(one: Ratio | Cost) -> str:
    """What was timed: `compute single-stream`, `compute offline, batch of 32`, `cold-start`."""
    scenario = "" if one.scenario == "once" else f" {one.scenario}"
    batch = f", batch of {one.batch}" if one.scenario == "offline" else ""
    return f"{one.scope}{scenario}{batch}"


def time_word(one: Ratio) -> str:
    """Whether b is faster."""
    return _TIME_WORDS[one.verdict] if one.valid else INVALID
