"""The plan and the figures of training steps over their floor."""

from benchmarks import fast_steps


def test_every_block_has_every_subject_once_and_ratios_are_of_one_block() -> None:
    planned = fast_steps.settings()
    each = sum(len(subjects) for subjects in fast_steps.SUBJECTS.values())
    assert len(planned) == fast_steps.BLOCKS * each
    assert planned[:each][0]["subject"] == planned[each:][each - 1]["subject"] == "floor"
    slower = {"floor": 1.0, "stored": 1.1, "hard": 1.02}
    runs = [
        {
            "settings": one,
            # a block in which everything is slow tells nothing
            "result": {
                name: [slower[one["subject"]] * (1 + one["block"])] * 3 for name in ("step_s", "step_cpu_s")
            },
        }
        for one in planned
    ]
    found = fast_steps.figures(runs)
    assert round(found["step_ratio_resnet20"].value, 6) == 1.1
    assert round(found["step_ratio_minilm"].value, 6) == 1.02
    assert round(found["step_ratio_resnet8_hard"].high, 6) == 1.02
    assert found["step_cpu_ratio_resnet8"].n == fast_steps.BLOCKS
