"""`python -m antiphon.testing.mutant_process MUTANT ARGS`: the command `antiphon ARGS` with a fault
in its code, for campaigns that must find it."""

from __future__ import annotations

import sys

from antiphon.cli import main
from antiphon.testing.mutants import MUTANTS


def run() -> None:
    """Applies the mutant that the first argument names, then runs the command of the others."""
    MUTANTS[sys.argv[1]]()
    sys.argv = ["antiphon", *sys.argv[2:]]
    main()


if __name__ == "__main__":
    run()
