"""`python -m antiphon.demo.synapse_process SETTINGS`: Synapse in this process, which ends when the
process that started it does, however that died.
"""

from __future__ import annotations

import runpy
import sys

from antiphon.run.parent import die_with_parent

GRACE_S = 5.0


def main() -> None:
    """Runs Synapse's own main program with the settings file named by the one argument."""
    die_with_parent(GRACE_S)
    sys.argv = ["synapse", "-c", sys.argv[1]]
    runpy.run_module("synapse.app.homeserver", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
