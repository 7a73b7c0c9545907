"""A case: what goes in, what must come out; and what did come out of it."""

import re
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from compactor_runtimes.errors import CompactorError

MOST_LETTERS = 900  # of a refusal: a sentence, not a page
RESERVED = range(2, 8)  # exit codes of what is not our mistake

Verdict = Literal["right", "refused clearly", "refused wrongly", "silent and wrong", "traceback"]


@dataclass(frozen=True)
class Refused:
    """A refusal in one sentence in which `says` is found, a regular expression."""

    says: str


@dataclass(frozen=True)
class Case:
    """One input: its kind, what goes in, what must come out, and how it is put in, given an empty folder.

    `keeps` marks what looks odd and is right, so that it must go on working.
    """

    kind: str
    goes_in: str
    wanted: Any
    act: Callable[[Path], Any]
    keeps: bool = False

    @property
    def name(self) -> str:
        """For lists."""
        return f"{self.kind}: {self.goes_in}"


@dataclass(frozen=True)
class CameOut:
    """The verdict on a case, and what was answered."""

    verdict: Verdict
    answer: str

    @property
    def is_good(self) -> bool:
        """Right, or refused in a clear sentence."""
        return self.verdict in ("right", "refused clearly")


def put_in(case: Case, folder: Path) -> CameOut:
    """Put a case in and judge what comes out."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = case.act(folder)
    except CompactorError as error:
        said = str(error)
        is_sentence = "\n" not in said and len(said) <= MOST_LETTERS and error.exit_code in RESERVED
        expected = isinstance(case.wanted, Refused) and re.search(case.wanted.says, said) is not None
        return CameOut("refused clearly" if is_sentence and expected else "refused wrongly", said)
    except Exception:  # what a user would see as a traceback
        return CameOut("traceback", traceback.format_exc().strip().splitlines()[-1])
    return CameOut("right" if found == case.wanted else "silent and wrong", repr(found))
