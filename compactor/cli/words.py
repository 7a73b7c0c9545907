"""Options as they were given, to be said again to another process."""

from collections.abc import Collection

import click
from click.core import ParameterSource


def words_given(context: click.Context, *, without: Collection[str]) -> list[str]:
    """The options of a command that its user gave, a word each.

    Args:
        context: of the command.
        without: names of parameters to leave out; its arguments are left out anyway.
    """
    words: list[str] = []
    for option in context.command.params:
        name = option.name or ""
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if not isinstance(option, click.Option) or name in without or not given:
            continue
        value, flag = context.params[name], option.opts[-1]
        if option.is_flag:
            words += [flag] if value else []
        else:
            words += [f"{flag}={one}" for one in (value if option.multiple else [value])]
    return words
