"""`compactor init`: what it writes, where it says what, and what it refuses."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compactor.cli.init_command import command
from compactor.recipe.load import load_recipe
from compactor_runtimes.errors import CompactorError


def init(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPACTOR_CACHE", str(tmp_path / "cache"))


def test_a_recipe_is_written_and_the_next_command_named() -> None:
    done = init("cifar:resnet20", "cifar:resnet8", "digits", "-o", "mine.yaml", "--name", "mine")
    assert done.exit_code == 0, done.output
    assert done.stdout == (
        "recipe: mine.yaml\nnext:   compactor run mine.yaml --smoke, then without --smoke\n"
    )
    recipe = load_recipe("mine.yaml").recipe
    assert (recipe.name, recipe.data.dataset) == ("mine", "digits")
    assert [(stage.id, stage.method) for stage in recipe.stages] == [
        ("teacher", "supervised"),
        ("distil", "kd"),
    ]


def test_an_existing_recipe_is_kept_unless_forced() -> None:
    Path("recipe.yaml").write_text("mine\n")
    done = init("-", "cifar:resnet8", "digits")
    assert isinstance(done.exception, CompactorError)
    assert done.exception.exit_code == 2
    assert "exists already" in str(done.exception)
    assert Path("recipe.yaml").read_text() == "mine\n"
    assert init("-", "cifar:resnet8", "digits", "--force").exit_code == 0
    assert load_recipe("recipe.yaml").recipe.stages[0].method == "supervised"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-", "cifar:resnet8", "lost"), "lost was not found"),
        (("-", "cifar:resnet8", "digits", "-o", "no/recipe.yaml"), "folder no does not exist"),
        (("-", "cifar:resnet8", "digits", "--no-training"), "without training it needs its weights"),
        (("-", "cifar:resnet8", "digits", "--name", "a b"), "recipe name: got 'a b'"),
        (("-", "cifar:resnet8", "digits", "--classes", "3"), "data digits: brings its own classes"),
    ],
)
def test_refusals_are_usage_errors_and_write_nothing(arguments: tuple[str, ...], sentence: str) -> None:
    done = init(*arguments)
    assert isinstance(done.exception, CompactorError), done.output
    assert done.exception.exit_code == 2
    assert sentence in str(done.exception)
    assert not list(Path().glob("*.yaml"))


def test_help_teaches_with_examples() -> None:
    text = init("--help").output
    assert "compactor init - cifar:resnet8 digits\n" in text
    assert "\\b" not in text
