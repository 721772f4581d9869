"""All checks at once, each within its time; findings are told in a fixed order, as soon as they
and all before them are known. A check that fails hides no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from antiphon.adapter.matrix.doctor import agent as agent_check
from antiphon.adapter.matrix.doctor import (
    configured,
    database,
    disk,
    encryption,
    homeserver,
    limits,
    login,
    rooms,
)
from antiphon.adapter.matrix.doctor.finding import (
    TITLES,
    Diagnosis,
    Finding,
    failed,
    failure,
    not_looked,
    ok,
    warning,
)
from antiphon.adapter.matrix.doctor.patient import Patient
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.http import Http
from antiphon.core.ids import UserId
from antiphon.errors import AntiphonError, SettingsError, StateError

T = TypeVar("T")

CHECK_S = 10.0
ROOMS_S = 60.0
"""A first sync of many rooms takes the homeserver its time."""
LIMITS_S = 20.0
MARGIN_S = 5.0

LOOK_AGAIN = "Mend that first."
CORRECT = "Correct that setting, then run this again."
TODO = {
    "settings": f"Correct the settings. {configured.INIT}",
    "allow": 'Write each as "@user:server", "@*:server" or "*".',
    "disk": f"Look at that folder, or {disk.ELSEWHERE}.",
    "permissions": f"Give that to the user who runs `antiphon`, or {disk.ELSEWHERE}.",
    "running": f"Give that to the user who runs `antiphon`, or {disk.ELSEWHERE}.",
    "journal": "Run this again; if it stays so, look at the disk and at what else uses it.",
    "chats": "Run this again; if it stays so, look at the disk and at what else uses it.",
    "homeserver": (
        "Check that the homeserver runs and that [matrix] homeserver is its address: with "
        "/_matrix/client/versions behind it, a browser must show a list of versions."
    ),
    "clock": LOOK_AGAIN,
    "login": "Run this again; if it stays so, look at the homeserver's log.",
    "limits": "Run this again in a minute.",
    "rooms": "Run this again; if it stays so, look at the homeserver's log.",
    "encryption": LOOK_AGAIN,
    "agent": "Set [agent] url and [agent] token to the agent's address and this surface's token.",
    "model": "Look at the agent's log; `--no-model` leaves this out.",
}
"""What to do where a check ended in an error whose own sentence does not say it all."""

OWN_SETTINGS = ("settings", "allow", "agent", "journal")
AFTER_LOGIN = ("limits", "rooms", "encryption")


class Board:
    """The findings as they come in; each id gets one."""

    def __init__(self, ids: tuple[str, ...]):
        self.ids = ids
        loop = asyncio.get_running_loop()
        self._slots: dict[str, asyncio.Future[Finding]] = {i: loop.create_future() for i in ids}

    def put(self, *findings: Finding) -> None:
        """Tells findings."""
        for finding in findings:
            self._slots[finding.id].set_result(finding)

    async def get(self, id_: str) -> Finding:
        """Waits for a finding."""
        return await self._slots[id_]

    def fill(self, ids: tuple[str, ...], why: str) -> None:
        """Those of `ids` that are still open were not looked at."""
        self.put(*(not_looked(i, why, LOOK_AGAIN) for i in ids if not self._slots[i].done()))

    async def within(
        self, seconds: float, ids: tuple[str, ...], work: Coroutine[Any, Any, T]
    ) -> T | None:
        """What `work` gives. Where it fails or takes longer, None, and that is the finding of the
        first of `ids` that is still open; the others were not looked at then."""
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            self._fail(ids, lambda i: failure(i, f"no result within {seconds:g} s", TODO[i]))
        except SettingsError as error:
            why = error
            self._fail(ids, lambda i: failed(i, why, TODO[i] if i in OWN_SETTINGS else CORRECT))
        except AntiphonError as error:
            told = error
            self._fail(ids, lambda i: failed(i, told, TODO[i]))
        return None

    async def check(
        self, seconds: float, id_: str, work: Coroutine[Any, Any, Finding]
    ) -> Finding | None:
        """A check of one finding, which is told; None where it ended without one."""
        found = await self.within(seconds, (id_,), work)
        if found is not None:
            self.put(found)
        return found

    def _fail(self, ids: tuple[str, ...], finding: Callable[[str], Finding]) -> None:
        waiting = tuple(i for i in ids if not self._slots[i].done())
        if waiting:
            self.put(finding(waiting[0]))
            self.fill(waiting[1:], f"see {TITLES[waiting[0]]}")


async def diagnose(
    patient: Patient, told: Callable[[Finding], None], *, check_s: float = CHECK_S
) -> Diagnosis:
    """Looks at everything. `told` gets each finding, in the order of `TITLES`; a check may take
    `check_s` seconds, where nothing else is said."""
    ids = tuple(i for i in TITLES if i != "model" or patient.with_model)
    board = Board(ids)
    findings: list[Finding] = []
    async with asyncio.TaskGroup() as group:
        for id_, look in (
            ("settings", configured.settings),
            ("allow", configured.allow),
            ("disk", disk.disk),
            ("permissions", disk.permissions),
        ):
            group.create_task(board.check(check_s, id_, asyncio.to_thread(look, patient)))
        # A server's own time-out says more than ours: it is let come first.
        longer_s = check_s + MARGIN_S
        group.create_task(board.check(longer_s, "journal", database.journal(patient)))
        group.create_task(board.check(longer_s, "chats", database.chats(patient)))
        group.create_task(_matrix(board, patient, check_s))
        group.create_task(_agent(board, patient, check_s))
        for id_ in ids:
            finding = await board.get(id_)
            findings.append(finding)
            told(finding)
    return Diagnosis(tuple(findings))


async def _matrix(board: Board, patient: Patient, check_s: float) -> None:
    """Everything that depends on the homeserver, one thing after the other as they depend."""
    below = ("homeserver", "clock", "login", "limits", "rooms", "encryption")
    held = await board.within(check_s, ("running",), asyncio.to_thread(database.running, patient))
    adapter: int | None = None
    if held is not None:
        finding, adapter = held
        board.put(finding)
    try:
        client, http = (
            MatrixClient(patient.matrix.homeserver),
            Http(patient.matrix.homeserver, None),
        )
    except SettingsError:
        board.fill(below, f"see {TITLES['settings']}")
        return
    async with client, http:
        seen = await board.within(check_s, below, homeserver.look(http, patient.clock))
        if seen is None:
            return
        board.put(homeserver.homeserver(seen), homeserver.clock(seen))
        looked = await board.within(check_s, below, login.look(patient, client))
        if looked is None:
            return
        board.put(looked.finding)
        if looked.found is None:
            _without_login(board, looked)
            return
        http.token = looked.found.access_token
        me = UserId(looked.found.user_id)
        async with asyncio.TaskGroup() as group:
            group.create_task(
                board.check(
                    LIMITS_S,
                    "limits",
                    limits.limits(http, seen, me, adapter, patient.clock, patient.chance),
                )
            )
            group.create_task(_rooms(board, patient, client, me, looked.found.device_id, adapter))


def _without_login(board: Board, looked: login.Looked) -> None:
    if looked.expected:
        board.put(*(ok(i, "not looked at: not signed in yet") for i in AFTER_LOGIN))
    else:
        board.fill(AFTER_LOGIN, f"see {TITLES['login']}")


async def _rooms(
    board: Board,
    patient: Patient,
    client: MatrixClient,
    me: UserId,
    device_id: str,
    adapter: int | None,
) -> None:
    ids = ("rooms", "encryption")

    async def look() -> None:
        try:
            found = await rooms.look(patient, client, me)
        except StateError:
            board.fill(ids, f"see {TITLES['journal']}")
        else:
            board.put(rooms.drift(found, adapter))
            seen = await encryption.look(patient, client, me, device_id)
            board.put(encryption.finding(patient, seen, found.encrypted))

    await board.within(ROOMS_S, ids, look())


async def _agent(board: Board, patient: Patient, check_s: float) -> None:
    """The agent and, where it answers, its model."""
    ids = ("agent", "model") if patient.with_model else ("agent",)
    if patient.platform is None:
        board.put(warning("agent", agent_check.NO_ADDRESS, agent_check.RUN_IT))
        board.fill(ids, f"see {TITLES['agent']}")
        return
    open_platform = patient.platform

    async def look() -> None:
        async with open_platform() as platform:
            asked = agent_check.agent(platform, patient.clock)
            found = await board.check(check_s + MARGIN_S, "agent", asked)
            if not patient.with_model:
                return
            if found is None or found.level != "ok":
                board.fill(ids, f"see {TITLES['agent']}")
                return
            longest = agent_check.MODEL_S + agent_check.FORGET_S + MARGIN_S
            await board.check(longest, "model", agent_check.model(platform, patient.clock))

    whole = check_s + agent_check.MODEL_S + agent_check.FORGET_S + 2 * MARGIN_S
    await board.within(whole, ids, look())
