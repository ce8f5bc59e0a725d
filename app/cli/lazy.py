"""Commands that are imported when they are called: a look at the help waits for none of them."""

from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from app.cli.dress import dress


class Place(NamedTuple):
    """Where a command is, and what the list of commands says of it."""

    target: str
    """`module:name` of a function, or of a Typer with commands of its own."""
    caption: str
    takes_anything: bool = False
    """Whether options that it does not know are handed on."""


class LazyCommand(TyperCommand):
    """Stands for the command in lists, and gives way to it once it is called."""

    def __init__(self, name: str, place: Place) -> None:
        super().__init__(name, help=place.caption)
        self.place = place

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """That of the command itself."""
        return self.load().make_context(info_name, args, parent, **extra)

    def load(self) -> Any:
        """The command itself, with what all have in common."""
        return dress(self._import(), str(self.name))

    def _import(self) -> Any:
        module, _, name = self.place.target.partition(":")
        found = getattr(import_module(module), name)
        if isinstance(found, typer.Typer):
            return get_group(found)
        settings = {"allow_extra_args": True, "ignore_unknown_options": True}
        alone = typer.Typer(add_completion=False)
        alone.command(self.name, context_settings=settings if self.place.takes_anything else None)(
            found
        )
        return get_command(alone)


def make_group(places: dict[str, Place]) -> type[TyperGroup]:
    """The class of a group of these commands, in this order."""

    class Group(TyperGroup):
        def __init__(self, **attrs: Any) -> None:
            commands = [LazyCommand(name, place) for name, place in places.items()]
            super().__init__(**attrs | {"commands": commands})

    return Group
