"""`python -m antiphon.adapter.matrix.reset`: the same as `antiphon matrix reset`."""

import sys

from antiphon.cli.app import invoke

sys.exit(invoke(["matrix", "reset", *sys.argv[1:]]))
