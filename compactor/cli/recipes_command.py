"""`compactor recipes`."""

import click

from compactor.cli.output_options import JSON


@click.command("recipes")
@JSON
@click.option("--show", metavar="NAME", help="Print one recipe with every default written out.")
def command(as_json: bool, show: str | None) -> None:
    """List the recipes that ship with Compactor."""
    from compactor.cli import emit_json
    from compactor.recipe.load import load_recipe, recipe_names, to_yaml

    if show:
        click.echo(to_yaml(load_recipe(show).recipe), nl=False)
        return
    recipes = {name: load_recipe(name).recipe for name in recipe_names()}
    if as_json:
        emit_json(
            {
                name: {"task": recipe.task, "stages": [stage.id for stage in recipe.stages]}
                for name, recipe in recipes.items()
            }
        )
        return
    for name, recipe in recipes.items():
        stages = " -> ".join(f"{stage.id} ({stage.method})" for stage in recipe.stages)
        click.echo(f"{name:<20} {recipe.task}, {recipe.data.dataset}: {stages}")
