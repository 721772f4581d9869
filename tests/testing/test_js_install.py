"""What the independent client needs is got once, from no place that the project names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.testing.js_install import CLIENT, NODE_MAJOR, NoJsClientError, install, own_node


def node(folder: Path, version: str) -> Path:
    """A program called node that says this version."""
    program = folder / "node"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("version", [f"v{NODE_MAJOR}.0.0", f"v{NODE_MAJOR + 3}.1.2"])
def test_the_machines_node_is_taken_where_it_is_new_enough(tmp_path: Path, version: str) -> None:
    assert own_node(str(tmp_path)) is None
    program = node(tmp_path, version)
    assert own_node(str(tmp_path)) == program


@pytest.mark.parametrize("version", [f"v{NODE_MAJOR - 1}.9.9", "v8.0.0", "nonsense", ""])
def test_an_older_node_is_left_alone(tmp_path: Path, version: str) -> None:
    node(tmp_path, version)
    assert own_node(str(tmp_path)) is None


def test_a_node_that_does_not_start_is_none(tmp_path: Path) -> None:
    node(tmp_path, "v99.0.0").write_text("#!/bin/sh\nexit 3\n")
    assert own_node(str(tmp_path)) is None


def test_without_a_checkout_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.testing.js_install.CLIENT", tmp_path)
    with pytest.raises(NoJsClientError, match="needs a checkout"):
        install()


def test_the_lock_file_names_hashes_and_no_place() -> None:
    lock = json.loads((CLIENT / "package-lock.json").read_text())
    packages = {name: found for name, found in lock["packages"].items() if name}
    assert packages
    for name, found in packages.items():
        assert found["integrity"].startswith("sha512-"), name
        assert "resolved" not in found, name


def test_every_version_is_exact() -> None:
    wanted = json.loads((CLIENT / "package.json").read_text())["dependencies"]
    assert all(version[0].isdecimal() for version in wanted.values())
