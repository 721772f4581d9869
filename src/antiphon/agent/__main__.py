"""`python -m antiphon.agent`: the agent as a process, by the settings of file and environment.

Prints `ready ws://HOST:PORT/agent_ws/` to standard output once it listens. A wrong setting or
state is one line on standard error and the error's exit code.
"""

from __future__ import annotations

import asyncio
import sys

from antiphon import telemetry
from antiphon.agent.app import serve
from antiphon.errors import EXIT_OK, AntiphonError
from antiphon.settings import AgentSettings, General, read, section


def main() -> int:
    """Runs the agent until it is told to stop; returns the exit code."""
    try:
        source = read()
        general = section(source, "", General)
        settings = section(source, "agent", AgentSettings)
        telemetry.configure(general.log_level, general.log_format, process="agent")
        asyncio.run(serve(general, settings, ready=announce))
    except AntiphonError as error:
        sys.stderr.write(f"antiphon: {error.message}\n")
        return error.exit_code
    return EXIT_OK


def announce(url: str) -> None:
    """Tells whoever started this process where it listens."""
    sys.stdout.write(f"ready {url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
