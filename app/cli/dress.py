"""What every command's help has in common: names of values, and an example."""

from typing import Any

import typer
from typer.core import TyperArgument, TyperOption

from app import PROGRAM
from app.cli.examples import EXAMPLES

_VALUES = {
    "<str>": "TEXT",
    "<list[str]>": "TEXT",
    "<int>": "NUMBER",
    "<int range>": "NUMBER",
    "<float>": "NUMBER",
    "<float range>": "NUMBER",
    "<path>": "PATH",
    "<bool>": "",
}


def dress(command: Any, words: str) -> Any:
    """Name the values of a command and of all below it; `words` is how it is called."""
    with typer.Context(command) as context:
        for parameter in command.get_params(context):
            _name_value(parameter, context)
    if words in EXAMPLES:
        command.epilog = f"Example: {PROGRAM} {EXAMPLES[words]}"
    for name, below in getattr(command, "commands", {}).items():
        dress(below, f"{words} {name}")
    return command


def _name_value(parameter: Any, context: Any) -> None:
    if isinstance(parameter, TyperArgument):
        parameter.metavar = parameter.metavar or str(parameter.name).upper()
        # Its name says it; the type of the program's own value would be said beside it.
        parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
    elif parameter.metavar is not None:
        return
    elif isinstance(parameter, TyperOption):
        shown = parameter.display_type(context)
        if shown is not None:
            parameter.metavar = _VALUES.get(shown, shown)
