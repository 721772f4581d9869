"""What people may say to the bot itself: one declaration of each command, for every surface."""

from antiphon.core.commands.catalogue import Argument, Catalogue, Command, Who
from antiphon.core.commands.parse import ParsedCommand, UnknownCommand, WrongUsage, parse
from antiphon.core.commands.replies import help_text
from antiphon.core.commands.standard import STANDARD

__all__ = [
    "STANDARD",
    "Argument",
    "Catalogue",
    "Command",
    "ParsedCommand",
    "UnknownCommand",
    "Who",
    "WrongUsage",
    "help_text",
    "parse",
]
