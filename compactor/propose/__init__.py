"""Write a first recipe: from the names of teacher, student and data to commented YAML that runs.

One file a question: which models (`models`, `weights`) in which role (`teachers`), which data (`columns`,
`data`), which numbers (`training`), what to export (`export`), how it is written down (`document`,
`commented_yaml`). `proposal` puts the answers together.
"""

from compactor.propose.proposal import Proposal, propose

__all__ = ["Proposal", "propose"]
