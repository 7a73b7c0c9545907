"""`compactor init`: what it writes, where it says what, and what it refuses."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compactor.cli.init_command import command
from compactor.methods import METHODS, method_named
from compactor.methods.table import required_options
from compactor.recipe.load import load_recipe
from compactor.run.plan import make_plan
from compactor_runtimes.errors import CompactorError
from tests.compactor.propose.test_proposal import WORDS, images, table, tickets, weights
from tests.compactor.text_toys import write_tokenizer


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


@pytest.mark.parametrize("name", [one for one in METHODS if "softmax" in method_named(one, "").activations])
def test_a_wished_method_is_that_of_the_students_stage_and_can_be_planned(name: str) -> None:
    done = init("cifar:resnet20", "cifar:resnet8", "digits", "--method", name)
    method = method_named(name, "")
    if required_options(method):
        assert f"--method {name}: nothing tells what {required_options(method)[0]} should be" in str(
            done.exception
        )
        return
    assert done.exit_code == 0, (done.output, done.exception)
    loaded = load_recipe("recipe.yaml")
    assert [stage.method for stage in loaded.recipe.stages] == ["supervised", name]
    last = loaded.recipe.stages[-1]
    assert (last.labels is not None) == (method.build is None)
    if name == "weight_aligning":  # its teacher must know fewer classes than the data have
        return
    plan = make_plan(loaded, Path("runs"))
    plan.require_stages()
    assert len(plan.stages) == 2
    assert ("learns from no teacher" in done.stderr) == (not method.learns_from_teachers)


def test_the_usual_method_by_name_is_written_as_without_it() -> None:
    init("cifar:resnet20", "cifar:resnet8", "digits", "-o", "usual.yaml", "--name", "a")
    init("cifar:resnet20", "cifar:resnet8", "digits", "-o", "named.yaml", "--name", "a", "--method", "kd")
    assert Path("usual.yaml").read_text() == Path("named.yaml").read_text()


def test_a_peer_of_a_trained_student_starts_from_its_weights() -> None:
    weights("student.safetensors", 10)
    done = init("-", "cifar:resnet8@student.safetensors", "digits", "--method", "dml")
    assert done.exit_code == 0, done.output
    assert load_recipe("recipe.yaml").recipe.stages[0].options == {"peer": "copied"}


def test_a_store_of_texts_has_one_view_of_each_and_mixes_none() -> None:
    table("tickets.csv", tickets())
    tokenizer = str(write_tokenizer(Path("words"), WORDS))
    for name, options in (
        ("fkd", {"crops_per_image": 1, "mixing": "none"}),
        ("ferkd", {"crops_per_image": 1, "mixing": "none"}),
    ):
        done = init(
            "encoder:1x8", "encoder:1x8", "tickets.csv", "--tokenizer", tokenizer, "--method", name, "--force"
        )
        assert done.exit_code == 0, (done.output, done.exception)
        loaded = load_recipe("recipe.yaml")
        last = loaded.recipe.stages[-1]
        assert (last.options, last.labels and last.labels.crops) == (options, 1)
        make_plan(loaded, Path("runs")).require_stages()


def test_a_method_of_labels_is_refused_where_there_are_none_and_one_of_a_share_is_told_of() -> None:
    images("photos", {"": 12})
    weights("teacher.safetensors", 10)
    models = ("cifar:resnet8@teacher.safetensors", "cifar:resnet8", "photos")
    done = init(*models, "--method", "supervised")
    assert "learns from labels, but data photos has none" in str(done.exception)
    done = init(*models, "--method", "meal_v2")
    assert "the share of meal_v2 that reads them has no effect" in done.stderr, done.exception
    init(*models, "--method", "kd", "--force")
    assert load_recipe("recipe.yaml").recipe.stages[0].options["soft_weight"] == 1.0


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
        (("-", "cifar:resnet8", "digits", "--method", "kdd"), "--method 'kdd': there is no such method; did"),
        (("-", "cifar:resnet8", "digits", "--method", "kd"), "--method kd: learns from a teacher, and there"),
        (
            ("-", "cifar:resnet8", "digits", "--method", "embedding"),
            "--method: 'embedding' compares embedding",
        ),
        (("-", "cifar:resnet8", "digits", "--no-training", "--method", "dml"), "no effect where nothing is"),
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
