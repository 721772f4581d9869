"""The faults between adapter and homeserver that a trial meets, chosen by its chance. Pure."""

from __future__ import annotations

import random

from antiphon.testing.fault_proxy import Rule
from antiphon.testing.homeserver_faults import Fault, error, html, limited

LOST = Fault(drop=True)
LOST_REQUEST = Fault(taken=False, drop=True)
CUT_OFF = Fault(truncate=True)


def weather(chance: random.Random) -> list[Rule]:
    """Some faults of each kind, so few that an answer gets through in seconds."""
    sends = ("send", "redact")
    everywhere = ("send", "redact", "sync", "join", "messages", "joined_rooms", "whoami")
    pool = [
        Rule(sends, LOST, chance=0.4, times=5),
        Rule(sends, LOST_REQUEST, chance=0.3, times=3),
        Rule(sends, Fault(delay_s=chance.uniform(0.3, 1.5)), chance=0.3, times=5),
        Rule(sends, CUT_OFF, chance=0.3, times=3),
        Rule(sends, html(502, taken=True), chance=0.3, times=3),
        Rule(sends, html(200, taken=True), chance=0.2, times=2),
        Rule(sends, error(500, "M_UNKNOWN", taken=True), chance=0.2, times=3),
        Rule(sends, limited(300), chance=0.3, times=4),
        Rule(("sync",), LOST, chance=0.3, times=3),
        Rule(("sync",), CUT_OFF, chance=0.3, times=3),
        Rule(("sync",), html(502), chance=0.3, times=2),
        Rule(("sync",), stale=True, chance=0.3, times=6),
        Rule(("sync",), double=True, chance=0.5, times=20),
        Rule(("join", "messages", "joined_rooms", "whoami"), LOST, chance=0.5, times=2),
        Rule(everywhere, error(503, "M_UNAVAILABLE"), chance=0.1, times=4),
    ]
    return chance.sample(pool, chance.randint(3, 6))


def key_weather(chance: random.Random) -> list[Rule]:
    """As `weather`, for the requests that keys need. Each that fails makes the next pause twice as
    long, and a message needs several: so they are fewer."""
    both = ("keys", "to_device")
    pool = [
        Rule(("to_device",), LOST, chance=0.5, times=2),
        Rule(("to_device",), LOST_REQUEST, chance=0.4, times=2),
        Rule(("to_device",), Fault(delay_s=chance.uniform(0.3, 1.5)), chance=0.3, times=4),
        Rule(("keys",), LOST, chance=0.4, times=2),
        Rule(("keys",), CUT_OFF, chance=0.3, times=2),
        Rule(("keys",), html(502), chance=0.3, times=2),
        Rule(both, error(500, "M_UNKNOWN", taken=True), chance=0.3, times=2),
        Rule(both, limited(300), chance=0.3, times=4),
    ]
    return chance.sample(pool, chance.randint(2, 4))


def late_edits(chance: random.Random) -> list[Rule]:
    """Sends whose connection is cut at once and that land seconds later all the same."""
    return [
        Rule(("send",), Fault(late=True, drop=True, delay_s=chance.uniform(1.5, 3.0)), chance=0.5)
    ]
