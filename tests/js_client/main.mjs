// One Matrix device, driven by JSON lines: {"id": 1, "do": "say", "args": {…}} comes in on stdin,
// {"id": 1, "ok": …} or {"id": 1, "error": {…}} goes out on stdout, and between them what happens:
// {"event": "changed"}, {"event": "verification", …}. Commands run side by side.
//
// Ends, with 0, at the end of stdin (so it never outlives who started it), at SIGTERM or at `stop`.

import { described, emit } from "./output.mjs";

import { createInterface } from "node:readline";

import { commands as files } from "./files.mjs";
import { commands as rooms } from "./rooms.mjs";
import { commands as session, Session } from "./session.mjs";
import { commands as state } from "./state.mjs";
import { commands as timeline } from "./timeline.mjs";
import { commands as trust } from "./trust.mjs";
import { commands as verification } from "./verification.mjs";

const COMMANDS = {
    ...session, ...rooms, ...timeline, ...trust, ...verification, ...files, ...state,
};
const device = new Session();

async function answer(line) {
    let id = null;
    try {
        const asked = JSON.parse(line);
        id = asked.id;
        const command = Object.hasOwn(COMMANDS, asked.do) ? COMMANDS[asked.do] : null;
        if (command === null) throw new Error(`There is no command ${asked.do}.`);
        emit({ id, ok: (await command(device, asked.args ?? {})) ?? null });
    } catch (error) {
        console.error(error);
        emit({ id, error: described(error) });
    }
}

function end(code) {
    device.stop();
    process.exit(code);
}

process.on("SIGTERM", () => end(0));
// Ctrl-C in the terminal reaches the whole group; who started us ends us.
process.on("SIGINT", () => {});
process.stdout.on("error", () => process.exit(0));
process.on("unhandledRejection", (error) => {
    // Of the SDK's own background work; told, since a test may want to know.
    console.error("unhandled rejection:", error);
    emit({ event: "fault", error: described(error) });
});

const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
lines.on("line", async (line) => {
    if (line.trim() === "") return;
    await answer(line);
    if (device.ended) end(0);
});
lines.on("close", () => end(0));
emit({ event: "ready", pid: process.pid, node: process.version });
