"""What goes into a command and comes out of it: who asks where, what is said, what the surface must
do itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from antiphon.clock import Clock
from antiphon.core.chat_settings import SETTINGS
from antiphon.core.commands import STANDARD, Catalogue
from antiphon.core.ids import UserId
from antiphon.core.model import Place
from antiphon.core.people import Forgotten
from antiphon.core.roles import Access
from antiphon.errors import AgentProtocolError, AgentRefusedError, AgentUnreachableError
from antiphon.sdk.interface import Platform

AGENT_AWAY = (AgentUnreachableError, AgentRefusedError, AgentProtocolError)
"""What the agent can't be asked now, in whichever way: a command says so and goes on without it."""


class Asker(msgspec.Struct, frozen=True):
    """Who gives a command, where, and what they are at this moment (by `Access`, and by the power
    that the room gives them). `request_id`: names the giving, of at most 100 characters (the id of
    the turn); the same command under it is carried out once."""

    user_id: UserId
    place: Place
    request_id: str
    is_admin: bool = False
    is_moderator: bool = False


class Surface(msgspec.Struct, frozen=True):
    """What a surface is and can. `name`: as in its places; `shared`: others may read the replies
    (always so in Matrix: a room of two is not assumed private); `settings`: those that mean
    something there; `longest`: characters of one reply."""

    name: str
    shared: bool = True
    catalogue: Catalogue = STANDARD
    settings: frozenset[str] = frozenset(SETTINGS)
    longest: int = 40_000


class Stop(msgspec.Struct, frozen=True):
    """The surface stops what runs in the place, and says so itself."""


class Retry(msgspec.Struct, frozen=True):
    """The surface asks the asker's last question in the place again, as a turn of its own; where
    there is none it says `nothing_to_retry_reply`."""


class Erase(msgspec.Struct, frozen=True):
    """The platform has erased its own records of the person: the surface owes the agent `forget`
    of each of `forgotten.threads` and `erase_author` in each of `forgotten.shared`, durably, and
    erases what it keeps of the person itself. Idempotent."""

    user_id: UserId
    forgotten: Forgotten


Effect = Stop | Retry | Erase


class Reply(msgspec.Struct, frozen=True):
    """What is said (Markdown; as a notice, which never starts a turn) and what the surface must do.
    `text` is empty where the effect says what there is to say."""

    text: str
    effect: Effect | None = None


class Kit(msgspec.Struct, frozen=True):
    """What carries commands out. `access`: the policy as it is now; `more_status`: lines that the
    surface adds to `!status`; `began`: `clock.monotonic()` at the start."""

    platform: Platform
    access: Callable[[], Access]
    clock: Clock
    surface: Surface
    more_status: Callable[[], Sequence[str]]
    began: float
