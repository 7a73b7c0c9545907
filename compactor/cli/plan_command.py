"""`compactor plan RECIPE`."""

from pathlib import Path

import click

from compactor.cli.recipe_options import recipe_options


@click.command("plan")
@recipe_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(recipe: str, overrides: tuple[str, ...], runs: Path, as_json: bool) -> None:
    """Show what a run would do: what runs, goes on, is reused, or cannot run on this machine, and why."""
    import msgspec
    from rich.table import Table

    from compactor.cli import emit_json, result_console
    from compactor.recipe import load_recipe
    from compactor.run.plan import make_plan

    plan = make_plan(load_recipe(recipe, overrides), runs)
    if as_json:
        emit_json(msgspec.to_builtins(plan, enc_hook=str))
        return
    table = Table(title=f"plan of {plan.name}", title_justify="left")
    for column in ("step", "kind", "action", "what", "why"):
        table.add_column(column, overflow="fold")
    for step in plan.steps:
        table.add_row(step.id, step.kind, step.action, step.detail, step.reason)
    result_console().print(table)
