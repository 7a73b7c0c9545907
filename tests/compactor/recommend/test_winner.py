"""The recommended recipe, where it is written, and what the terminal says of it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from compactor.recipe.load import LoadedRecipe, load_recipe
from compactor.recommend.result import Difference, Recommendation, Row
from compactor.recommend.terminal import conclusion, render, verdict
from compactor.recommend.winner import MARK, recommended_file, recommended_yaml, write_recommended
from compactor_runtimes.errors import UsageError


def row(name: str = "kd lr=0.2", **changes: Any) -> Row:
    usual: dict[str, Any] = {
        "method": "supervised",
        "options": {},
        "lr": 0.2,
        "stored": False,
        "is_own": False,
    }
    usual |= {"is_baseline": False, "rung": 2, "steps": 90, "value": 0.9, "low": 0.8, "high": 0.95, "n": 60}
    return Row(name=name, **(usual | changes))


def found(*rows: Row) -> Recommendation:
    rungs = [(4, 30), (2, 90)]
    return Recommendation(
        recipe="tiny", figure="accuracy", seeds=[], rungs=rungs, full_steps=200, rows=list(rows), left_out=[],
        trained=6, reused=0,
    )  # fmt: skip


def test_only_the_setting_of_the_last_stage_changes(tiny: LoadedRecipe) -> None:
    Path("new.yaml").write_text(recommended_yaml(tiny, found(row())))
    new = load_recipe("new.yaml").recipe
    old = tiny.recipe.stages[0]
    wanted = msgspec.structs.replace(old, method="supervised", options={}, lr=0.2)
    assert new == msgspec.structs.replace(tiny.recipe, stages=[wanted])


def test_labels_go_where_the_winner_needs_none_and_overrides_stay(tmp_path: Path) -> None:
    loaded = load_recipe("digits-fkd", ["stages.1.epochs=5"])
    file = tmp_path / "new.yaml"
    file.write_text(recommended_yaml(loaded, found(row())))
    stage = load_recipe(str(file)).recipe.stages[-1]
    assert (stage.method, stage.labels, stage.epochs) == ("supervised", None, 5)
    fkd = row(method="fkd", options={"crops_per_image": 2}, stored=True)
    file.write_text(recommended_yaml(loaded, found(fkd)))
    assert load_recipe(str(file)).recipe.stages[-1].labels == loaded.recipe.stages[-1].labels


def test_it_lies_beside_the_recipe_or_here_and_nothing_else_is_overwritten(
    tiny: LoadedRecipe, tmp_path: Path
) -> None:
    assert recommended_file(tiny, None) == Path("tiny-recommended.yaml")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_bytes((tmp_path / "tiny.yaml").read_bytes())
    assert recommended_file(load_recipe("sub/a.yaml"), None) == Path("sub/tiny-recommended.yaml")
    assert recommended_file(load_recipe("digits"), None) == Path("digits-recommended.yaml")
    out = Path("sub/b.yaml")
    notes = write_recommended(tiny, found(row()), out)
    assert [note.partition(":")[0] for note in notes] == [
        "comments of tiny.yaml are not kept in sub/b.yaml",
        "relative paths of a recipe start at its folder",
    ]
    assert out.read_text().startswith(MARK)
    assert recommended_file(tiny, out) == out  # its own work may be renewed
    with pytest.raises(UsageError, match="exists already, and not by this command"):
        recommended_file(tiny, Path("tiny.yaml"))
    with pytest.raises(UsageError, match="folder no does not exist"):
        recommended_file(tiny, Path("no/a.yaml"))


def test_noise_is_called_noise_and_select_optimistic() -> None:
    best = row("a lr=1")
    near = row("b lr=1", is_own=True, difference=Difference(points=-1.0, low=-3.0, high=1.0), value=0.89)
    far = row("c lr=1", difference=Difference(points=-9.0, low=-12.0, high=-5.0), value=0.8, rung=1)
    dead = row("d lr=9", value=None, low=None, high=None, problem="loss became nan", rung=1)
    whole = found(best, near, far, dead)
    assert [verdict(whole, one) for one in whole.rows] == [
        "recommended",
        "inside the noise",
        "worse",
        "does not train",
    ]
    said = conclusion(whole)
    assert said[1] == "inside the noise of it, on 60 samples: b lr=1  <- as in the recipe"
    assert said[2] == "so nothing speaks against the recipe as it is"
    assert "90 of the recipe's 200 steps" in said[3]
    assert "looks better there than it is" in said[4]
    assert render(whole).row_count == 4
