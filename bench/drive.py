"""Drives any Matrix bot as its users would and times what they see.

Each of N users opens a room of its own, invites the bot, waits for the join, then asks ROUNDS
questions one after the other. Seen from the user's /sync: time to the first reply text, to the
finished answer (END:<tag>), how many events it took, answers that came twice, and tags of other
users in an answer (bleed).
"""

import argparse
import asyncio
import json
import re
import statistics
import time
import uuid

import aiohttp


class User:
    def __init__(self, http, hs, token, uid):
        self.http, self.hs, self.h, self.uid = http, hs, {"Authorization": f"Bearer {token}"}, uid

    async def call(self, method, path, body=None, **params):
        while True:
            async with self.http.request(
                method, self.hs + path, json=body, params=params, headers=self.h
            ) as r:
                d = await r.json()
                if r.status == 429:
                    await asyncio.sleep(d.get("retry_after_ms", 500) / 1000)
                    continue
                if r.status >= 400:
                    raise RuntimeError(f"{path}: {d}")
                return d


async def one(u, a, rec):
    since = (await u.call("GET", "/_matrix/client/v3/sync", timeout=0))["next_batch"]
    room = (
        await u.call(
            "POST",
            "/_matrix/client/v3/createRoom",
            {"preset": "trusted_private_chat", "is_direct": True, "invite": [a.bot]},
        )
    )["room_id"]
    t0 = time.time()
    texts = {}

    async def events(deadline):
        nonlocal since
        while time.time() < deadline:
            d = await u.call("GET", "/_matrix/client/v3/sync", since=since, timeout=1000)
            since = d["next_batch"]
            for e in (
                d.get("rooms", {})
                .get("join", {})
                .get(room, {})
                .get("timeline", {})
                .get("events", [])
            ):
                yield e
            yield None

    joined = False
    async for e in events(t0 + a.join_timeout):
        if (
            e
            and e["type"] == "m.room.member"
            and e["state_key"] == a.bot
            and e["content"]["membership"] == "join"
        ):
            joined = True
            break
    rec["join"].append(time.time() - t0 if joined else None)
    if not joined:
        return
    await asyncio.sleep(a.settle)
    for _k in range(a.rounds):
        tag = f"Q-{uuid.uuid4().hex[:10]}"
        t = time.time()
        await u.call(
            "PUT",
            f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{uuid.uuid4().hex}",
            {"msgtype": "m.text", "body": f"{a.prefix}{tag} hello"},
        )
        first = end = None
        n, ends = 0, 0
        linger = None
        async for e in events(t + a.timeout):
            if linger and time.time() > linger:
                break
            if not e or e.get("sender") != a.bot or e["type"] != "m.room.message":
                continue
            c = e["content"]
            body = c.get("m.new_content", c).get("body", "")
            n += 1
            if first is None and f"A:{tag}" in body:
                first = time.time() - t
            if f"END:{tag}" in body:
                if end is None:
                    end = time.time() - t
                    linger = time.time() + a.linger
                if "m.new_content" not in c or c.get("m.relates_to", {}).get(
                    "event_id"
                ) not in texts.get(tag, set()):
                    ends += 1
                    texts.setdefault(tag, set()).add(
                        c.get("m.relates_to", {}).get("event_id") or e["event_id"]
                    )
            m = re.search(r"tags=(\S*)", body)
            if m:
                rec["tags"].setdefault(room, set()).update(
                    x for x in m.group(1).split(",") if len(x) == 12
                )
        rec["asked"].setdefault(room, set()).add(tag)
        rec["turns"].append(
            {"first": first, "end": end, "events": n, "answers": len(texts.get(tag, ()))}
        )


async def main(a):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def login(i):
            u = User(http, a.hs, "", "")
            d = await u.call(
                "POST",
                "/_matrix/client/v3/login",
                {
                    "type": "m.login.password",
                    "identifier": {"type": "m.id.user", "user": f"u{i}"},
                    "password": f"u{i}",
                },
            )
            return User(http, a.hs, d["access_token"], d["user_id"])

        users = [await login(i) for i in range(a.first, a.first + a.users)]
        rec = {"join": [], "turns": [], "asked": {}, "tags": {}}
        t = time.time()
        done = await asyncio.gather(*(one(u, a, rec) for u in users), return_exceptions=True)
        errs = [repr(x) for x in done if isinstance(x, Exception)]

        def q(key, p):
            v = sorted(x[key] for x in rec["turns"] if x[key] is not None)
            return round(v[min(len(v) - 1, int(p * len(v)))], 3) if v else None

        bleed = sum(bool(rec["tags"].get(r, set()) - rec["asked"][r]) for r in rec["asked"])
        print(
            json.dumps(
                {
                    "users": a.users,
                    "joined": sum(j is not None for j in rec["join"]),
                    "join_s": round(
                        statistics.median([j for j in rec["join"] if j is not None] or [-1]), 2
                    ),
                    "turns": len(rec["turns"]),
                    "answered": sum(x["end"] is not None for x in rec["turns"]),
                    "twice": sum(x["answers"] > 1 for x in rec["turns"]),
                    "bleed_rooms": bleed,
                    "first_p50": q("first", 0.5),
                    "first_p95": q("first", 0.95),
                    "end_p50": q("end", 0.5),
                    "end_p95": q("end", 0.95),
                    "events_p50": q("events", 0.5),
                    "wall_s": round(time.time() - t, 1),
                    "errors": errs[:3],
                }
            )
        )


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--hs", default="http://127.0.0.1:18008")
    p.add_argument("--bot", required=True)
    p.add_argument("--users", type=int, default=1)
    p.add_argument("--first", type=int, default=0)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--timeout", type=float, default=60)
    p.add_argument("--join-timeout", type=float, default=60)
    p.add_argument("--linger", type=float, default=1.5)
    p.add_argument("--settle", type=float, default=1.0)
    p.add_argument("--prefix", default="")
    asyncio.run(main(p.parse_args()))
