"""The command line: thin commands that read settings, call a part and print what came of it.

Whatever a command needs beyond click is imported when it runs, so that help is there at once.
"""

from antiphon.cli.app import main

__all__ = ["main"]
