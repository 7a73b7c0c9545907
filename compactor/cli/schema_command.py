"""`compactor schema`."""

import click

KINDS = ("recipe", "profile", "comparison")


@click.command("schema")
@click.argument("kind", type=click.Choice(KINDS), default="recipe")
def command(kind: str) -> None:
    """Print the JSON schema of a recipe, of a profile or of a comparison, for editors and checkers.

    A profile is what `compactor measure` writes, a comparison what `compactor compare --json` prints.
    """
    from compactor.cli import emit_json
    from compactor_runtimes.tables import resolve

    emit_json(resolve(_SCHEMAS[kind])())


_SCHEMAS = {
    "recipe": "compactor.recipe.load:schema",
    "profile": "compactor_runtimes.compare.schemas:profile_schema",
    "comparison": "compactor_runtimes.compare.schemas:comparison_schema",
}
