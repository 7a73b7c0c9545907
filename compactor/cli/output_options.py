"""Options of commands that say how results and progress are shown."""

import click

JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
QUIET = click.option("--quiet", is_flag=True, help="No progress.")
