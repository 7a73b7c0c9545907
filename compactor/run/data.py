"""The data sets of a recipe, each one found, decoded and hashed once for the whole run."""

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from compactor.cache.digest import digest_of
from compactor.data.spec import DataSpec
from compactor.methods import classes_asked_of_teachers
from compactor.models.stated_classes import names_for_numbers
from compactor.progress import Reporter
from compactor.recipe.load import LoadedRecipe
from compactor.recipe.spec import ModelSpec
from compactor_runtimes.errors import UsageError, needs_extra

if TYPE_CHECKING:
    from compactor.data.splits import Dataset


class DataSets:
    """Open data sets on demand and keep them."""

    def __init__(self, loaded: LoadedRecipe, reporter: Reporter) -> None:
        """Open nothing yet."""
        self.loaded, self.reporter = loaded, reporter
        self._opened: dict[str, Dataset] = {}  # by the digest of the spec, which is not hashable itself

    def open(self, spec: DataSpec, task: str | None = None) -> "Dataset":
        """Return the data set of a spec, as a task reads it (absent: the recipe's).

        Raises:
            UsageError: it cannot be used as it is, or nothing says what its classes are.
        """
        task = task or self.loaded.recipe.task
        key = digest_of([task, msgspec.to_builtins(spec)])
        if key not in self._opened:
            self._opened[key] = self._open(spec, task)
        return self._opened[key]

    def _names_for_numbers(self) -> tuple[str, ...] | None:
        """The classes of the first model that has learnt them elsewhere: a teacher, or what is exported."""
        recipe = self.loaded.recipe
        models, others = list[ModelSpec | str](), list[ModelSpec | str]()
        for stage in recipe.stages:  # a teacher of other classes than the data's says nothing of these
            asked = classes_asked_of_teachers(stage, f"stage {stage.id}")
            (models if asked == "all" else others).extend(recipe.stage_teachers(stage))
        models += [one for one in recipe.teachers if one not in others]
        exported = [recipe.student] if recipe.student and not recipe.stages else []
        named = [one for one in [*models, *exported] if isinstance(one, ModelSpec)]
        return names_for_numbers(named, self.loaded.base)

    def _open(self, spec: DataSpec, name: str) -> "Dataset":
        with needs_extra("train"):
            from compactor.tasks import task_named

            task = task_named(name)
        with self.reporter.bar(f"decode {spec.dataset}", 1) as bar:
            data = task.open(
                spec,
                base=self.loaded.base,
                progress=lambda done, total: bar.at(done, total=total),
                at_most=self.loaded.at_most,
                numbers_of=self._names_for_numbers() if task.head.is_labelled else None,
            )
        if task.head.is_labelled and not data.info.num_classes(task.head.name):
            if spec.class_names is None:
                raise UsageError(
                    f"data {spec.dataset}: has no labels, so nothing says how many classes there are; set "
                    "data.classes to their names or their number (as many as the teacher tells apart), or "
                    "data.label_column to the column that holds them"
                )
            classes = data.info.classes | {task.head.name: spec.class_names}
            data = replace(data, info=replace(data.info, classes=classes))
        return data
