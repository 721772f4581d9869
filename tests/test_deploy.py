"""What `deploy/` and the documentation say to run exists: commands, options, settings, files; and
the units' and the containers' own commands come up healthy and end on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import yaml  # type: ignore[import-untyped]

from antiphon.cli.app import antiphon
from antiphon.testing.deployment import (
    DEPLOY,
    VARIABLE,
    Unit,
    known_variables,
    pages,
    parses,
    stages,
    substituted,
    typed_commands,
    unknown_words,
)
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.ports import kept_port

ROOT = DEPLOY.parent
UNITS = tuple(sorted((DEPLOY / "systemd").glob("*.service")))
TARGETS = ("agent", "matrix", "master")
BIN = Path(sys.executable).parent
TEST_ONLY = {"ANTIPHON_CRASH"}


def containerfile() -> str:
    return (DEPLOY / "Containerfile").read_text()


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def compose_with_master() -> dict[str, Any]:
    """What Compose makes of the two files together."""
    file, more = compose(), yaml.safe_load((DEPLOY / "compose.master.yaml").read_text())
    for name, service in more["services"].items():
        known = file["services"].setdefault(name, {"environment": {}, "secrets": []})
        environment = {**known["environment"], **service["environment"]}
        secrets = [*known["secrets"], *service["secrets"]]
        known.update({**service, "environment": environment, "secrets": secrets})
    for part in ("volumes", "secrets"):
        file[part] = {**file[part], **more[part]}
    return file


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_each_unit_runs_a_command_that_there_is(path: Path) -> None:
    unit = Unit(path.read_text())
    program, *words = unit.one("Service.ExecStart").split()
    assert program == "/opt/antiphon/bin/antiphon"
    parses(antiphon, words)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_each_unit_is_unprivileged_restarts_and_keeps_its_state(path: Path) -> None:
    unit = Unit(path.read_text())
    user = unit.one("Service.User")
    assert f"u {user} " in (DEPLOY / "systemd" / "antiphon.sysusers.conf").read_text()
    assert unit.one("Service.StateDirectory") == user
    assert unit.environment()["ANTIPHON_STATE_DIR"] == f"%S/{user}"
    assert unit.one("Service.Restart") == "always"
    assert unit.one("Service.RestartPreventExitStatus") == "2"
    assert unit.one("Service.CapabilityBoundingSet") == ""
    assert unit.one("Service.NoNewPrivileges") == "yes"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_each_secret_of_a_unit_is_a_credential_that_it_loads(path: Path) -> None:
    unit = Unit(path.read_text())
    loaded = unit.credentials()
    used = [value for name, value in unit.environment().items() if name.endswith("_FILE")]
    used.append(unit.one("Service.ExecStart").split()[2])
    assert {value.removeprefix("%d/") for value in used} == set(loaded)
    assert all(path.startswith("/etc/antiphon/") for path in loaded.values())
    assert not VARIABLE.findall(" ".join(loaded))


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_finds_no_fault_in_a_unit(path: Path, tmp_path: Path) -> None:
    """Left out where there is no systemd-analyze."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze here")
    program = {"/opt/antiphon/bin/antiphon": str(BIN / "antiphon")}
    for each in UNITS:
        (tmp_path / each.name).write_text(substituted(each.read_text(), program))
    done = subprocess.run(
        [tool, "verify", "--man=no", str(tmp_path / path.name)],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", ["User=x\n", "[Service]\nUser x\n", "[Srvice]\nUser=x\n"])
def test_a_broken_unit_would_be_noticed(text: str) -> None:
    with pytest.raises(ValueError, match="is no directive"):
        Unit(text)


@pytest.mark.parametrize("target", TARGETS)
def test_each_image_runs_a_command_that_there_is_as_nobody_special(target: str) -> None:
    stage = stages(containerfile())[target]
    assert stage.entrypoint == ("antiphon",)
    parses(antiphon, stage.command)
    assert stage.user == "10001:10001"
    assert stage.env["ANTIPHON_STATE_DIR"] in stage.volumes
    assert stage.health[0] == "python"


def test_the_images_are_built_from_files_that_there_are() -> None:
    taken = stages(containerfile())["source"].copied
    assert {"pyproject.toml", "uv.lock", "src"} <= set(taken)
    kept = (DEPLOY / "Containerfile.dockerignore").read_text().split()
    for name in taken:
        assert (ROOT / name).exists()
        assert f"!{name}" in kept


@pytest.mark.parametrize("file", [compose(), compose_with_master()], ids=["two", "with-master"])
def test_compose_uses_the_images_and_defines_what_it_mentions(file: dict[str, Any]) -> None:
    for name, service in file["services"].items():
        assert service["build"]["target"] in stages(containerfile())
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert set(service["secrets"]) <= set(file["secrets"])
        used = {v for k, v in service["environment"].items() if k.endswith("_FILE")}
        assert used == {f"/run/secrets/{secret}" for secret in service["secrets"]}
        volumes = [volume.partition(":")[0] for volume in service["volumes"]]
        assert {v for v in volumes if not v.startswith(".")} <= set(file["volumes"])
        assert name in file["volumes"]
        assert service["read_only"]


@pytest.mark.parametrize("text", ["FROM a AS b\nCMD antiphon run\n", "FROM a AS b\nCMD [1]\n"])
def test_a_shell_form_would_be_noticed(text: str) -> None:
    with pytest.raises(ValueError, match="exec form"):
        stages(text)


@pytest.mark.parametrize(
    "path",
    [*pages(ROOT), *(p for p in sorted(DEPLOY.rglob("*")) if p.is_file())],
    ids=lambda path: path.name,
)
def test_every_variable_that_is_named_sets_a_setting(path: Path) -> None:
    named = set(VARIABLE.findall(path.read_text()))
    assert named - known_variables() - TEST_ONLY == set()


@pytest.mark.parametrize("path", pages(ROOT), ids=lambda path: path.name)
def test_every_command_that_a_page_says_to_type_exists(path: Path) -> None:
    wrong = {
        " ".join(words): unknown
        for words in typed_commands(path.read_text())
        if (unknown := unknown_words(antiphon, words))
    }
    assert wrong == {}


def test_commands_and_variables_that_there_are_not_would_be_noticed() -> None:
    page = (
        "`antiphon run --fast`\n```console\n$ sudo -u antiphon antiphon --config F matrix rset\n```"
    )
    assert [unknown_words(antiphon, words) for words in typed_commands(page)] == [
        ["rset"],
        ["--fast"],
    ]
    with pytest.raises(click.UsageError):
        parses(antiphon, ["matrix", "provision", "--user", "@a:b"])
    assert "ANTIPHON_MATRIX__PASSWORD_FILE" in known_variables()
    assert "ANTIPHON_MATRIX__USER_FILE" not in known_variables()


class Started:
    """Processes with a command and an environment from `deploy/`, moved to this test's folder."""

    def __init__(self, folder: Path, homeserver: FakeHomeserver):
        self.folder = folder
        self.ports = {port: str(kept_port()) for port in ("8765", "8766", "8770")}
        user = homeserver.account("bot")
        self.files = {
            "antiphon.toml": f'[matrix]\nhomeserver = "{homeserver.url}"\nuser = "{user}"\n',
            "matrix.password": "password\n",
            "agent.token": "t" * 32,
            "master.token": "m" * 32,
            "agent-erase.token": "e" * 32,
        }
        for name, text in self.files.items():
            (folder / name).write_text(text)

    @asynccontextmanager
    async def process(
        self, words: tuple[str, ...], env: Mapping[str, str]
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Ended by SIGTERM, which must be a success."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")}
        with (self.folder / "log").open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                BIN / "antiphon",
                *words,
                env={**clean, **env},
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=self.folder,
            )
        try:
            yield child
        finally:
            if child.returncode is None:
                child.terminate()
            async with asyncio.timeout(30):
                code = await child.wait()
        assert code == 0, (self.folder / "log").read_text()[-3000:]

    async def ready(self, *children: asyncio.subprocess.Process) -> None:
        for child in children:
            assert child.stdout is not None
            async with asyncio.timeout(60):
                line = await child.stdout.readline()
            assert line.startswith(b"ready"), (self.folder / "log").read_text()[-3000:]

    async def healthy(self, *ports: str) -> None:
        for port in ports:
            await asyncio.to_thread(
                urllib.request.urlopen, f"http://127.0.0.1:{self.ports[port]}/health", timeout=10
            )

    def unit(self, name: str) -> tuple[tuple[str, ...], dict[str, str]]:
        text = (DEPLOY / "systemd" / f"{name}.service").read_text()
        here = {"%d": str(self.folder), "%S": str(self.folder / "state"), **self.ports}
        unit = Unit(substituted(text, here))
        return tuple(unit.one("Service.ExecStart").split()[1:]), unit.environment()

    def container(self, name: str) -> tuple[tuple[str, ...], dict[str, str], tuple[str, ...]]:
        here = {
            "/var/lib/antiphon": str(self.folder / "state" / name),
            "/run/secrets": str(self.folder),
            "ws://agent:": "ws://127.0.0.1:",
            "/opt/antiphon/bin": str(BIN),
            **self.ports,
        }
        stage = stages(substituted(containerfile(), here))[name]
        file = compose_with_master() if name == "master" else compose()
        service = file["services"][name]["environment"]
        more = {key: substituted(value, here) for key, value in service.items()}
        moved = {"XDG_CONFIG_HOME": str(self.folder / "etc")}
        return stage.command, {**stage.env, **more, **moved}, stage.health


@pytest.fixture
def started(homeserver: FakeHomeserver, tmp_path: Path) -> Started:
    return Started(tmp_path, homeserver)


async def test_the_unit_of_both_comes_up_healthy(started: Started) -> None:
    async with started.process(*started.unit("antiphon")) as both:
        await started.ready(both)
        await started.healthy("8766")


async def test_the_units_apart_come_up_healthy_in_any_order(started: Started) -> None:
    async with started.process(*started.unit("antiphon-matrix")) as matrix:
        await started.ready(matrix)
        async with started.process(*started.unit("antiphon-agent")) as agent:
            await started.ready(agent)
            await started.healthy("8765", "8766")
    assert (started.folder / "state" / "antiphon-agent" / "agent.db").is_file()
    assert (started.folder / "state" / "antiphon" / "matrix.db").is_file()


async def test_the_images_commands_come_up_and_their_health_checks_tell(started: Started) -> None:
    """With the environment of the images and of compose, outside of any container."""
    (started.folder / "etc" / "antiphon").mkdir(parents=True)
    shutil.copy(started.folder / "antiphon.toml", started.folder / "etc" / "antiphon")
    (words, env, agent_health), (other, its, matrix_health) = (
        started.container(name) for name in ("agent", "matrix")
    )
    async with started.process(words, env) as agent, started.process(other, its) as matrix:
        await started.ready(agent, matrix)
        for check in (agent_health, matrix_health):
            assert (await _exit_code(check)) == 0
    for check in (agent_health, matrix_health):
        assert (await _exit_code(check)) != 0


async def test_the_control_planes_unit_comes_up_healthy(started: Started) -> None:
    async with started.process(*started.unit("antiphon-master")) as master:
        await started.ready(master)
        await started.healthy("8770")
    assert (started.folder / "state" / "antiphon-master" / "master.db").is_file()


async def test_the_control_planes_image_comes_up_and_its_health_check_tells(
    started: Started,
) -> None:
    (started.folder / "etc").mkdir()
    words, env, health = started.container("master")
    async with started.process(words, env) as master:
        await started.ready(master)
        assert (await _exit_code(health)) == 0
    assert (await _exit_code(health)) != 0


async def _exit_code(check: tuple[str, ...]) -> int:
    child = await asyncio.create_subprocess_exec(
        BIN / check[0], *check[1:], stderr=asyncio.subprocess.DEVNULL
    )
    return await child.wait()
