"""The words of time ratios, alike in the terminal and in Markdown, and what a CI's files cannot hold."""

import re

from compactor_runtimes.compare.comparison import Cost, Ratio

_TIME_WORDS = {"noise": "inside the noise", "better": "faster", "worse": "slower"}
INVALID = "INVALID, no verdict"
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # all but Char of XML 1.0


def timed_words(one: Ratio | Cost) -> str:
    """What was timed: `compute single-stream`, `compute offline (batch of 32)`, `cold-start`."""
    scenario = "" if one.scenario == "once" else f" {one.scenario}"
    batch = f" (batch of {one.batch})" if one.scenario == "offline" else ""
    return f"{one.scope}{scenario}{batch}"


def time_word(one: Ratio) -> str:
    """Whether b is faster."""
    return _TIME_WORDS[one.verdict] if one.valid else INVALID


def clean(text: str) -> str:
    """Replace control characters and lone surrogates, which no XML can hold and a terminal would obey."""
    return _NO_XML.sub("\ufffd", text)
