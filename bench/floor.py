"""The floor: the least that any streaming Matrix bot must do, with no state and no journal.

One process syncs, calls the model, sends the first words at once and edits every EDIT seconds,
then the final edit. A real adapter's overhead is what it takes beyond this on the same homeserver
in the same run.
"""

import argparse
import asyncio
import json
import time
import uuid

import aiohttp


async def main(a):
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as http:

        async def call(method, path, body=None, **params):
            while True:
                async with http.request(
                    method, a.hs + "/_matrix/client/v3" + path, json=body, params=params, headers=h
                ) as r:
                    d = await r.json()
                    if r.status == 429:
                        await asyncio.sleep(d.get("retry_after_ms", 500) / 1000)
                        continue
                    return d

        h = {}
        d = await call(
            "POST",
            "/login",
            {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": a.user},
                "password": a.user,
            },
        )
        h["Authorization"] = "Bearer " + d["access_token"]
        me = d["user_id"]
        history = {}

        async def turn(room, text):
            history.setdefault(room, []).append({"role": "user", "content": text})
            got, root, last, pending = "", None, 0.0, None

            async def put(body):
                nonlocal root
                c = {"msgtype": "m.text", "body": body}
                if root:
                    c = {
                        "msgtype": "m.text",
                        "body": "* " + body,
                        "m.new_content": c,
                        "m.relates_to": {"rel_type": "m.replace", "event_id": root},
                    }
                e = (
                    await call("PUT", f"/rooms/{room}/send/m.room.message/{uuid.uuid4().hex}", c)
                ).get("event_id")
                root = root or e

            async with http.post(
                a.llm + "/chat/completions",
                json={"model": "fake", "stream": True, "messages": history[room]},
            ) as r:
                async for line in r.content:
                    if not line.startswith(b"data: {"):
                        continue
                    ch = json.loads(line[6:])["choices"]
                    if not ch or not ch[0]["delta"].get("content"):
                        continue
                    got += ch[0]["delta"]["content"]
                    if time.time() - last >= a.edit and (pending is None or pending.done()):
                        last, pending = time.time(), asyncio.create_task(put(got))
            if pending:
                await pending
            await put(got)
            history[room].append({"role": "assistant", "content": got})

        since, tasks = None, set()
        print("ready", flush=True)
        while True:
            d = await call(
                "GET", "/sync", timeout=30000 if since else 0, **({"since": since} if since else {})
            )
            rooms = d.get("rooms", {})
            for room in rooms.get("invite", {}):
                await call("POST", f"/rooms/{room}/join", {})
            for room, r in rooms.get("join", {}).items():
                for e in r["timeline"]["events"]:
                    if since and e["type"] == "m.room.message" and e["sender"] != me:
                        t = asyncio.create_task(turn(room, e["content"].get("body", "")))
                        tasks.add(t)
                        t.add_done_callback(tasks.discard)
            since = d["next_batch"]


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--hs", default="http://127.0.0.1:18208")
    p.add_argument("--llm", default="http://127.0.0.1:18100/v1")
    p.add_argument("--user", default="bot-floor")
    p.add_argument("--edit", type=float, default=1.0)
    asyncio.run(main(p.parse_args()))
