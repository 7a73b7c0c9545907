"""`compactor schema`."""

import click


@click.command("schema")
def command() -> None:
    """Print the JSON schema of a recipe, for editors and checkers."""
    from compactor.cli import emit_json
    from compactor.recipe.load import schema

    emit_json(schema())
