// What leaves this process: JSON lines on stdout, and logs on stderr. Nothing else may write to
// stdout; imported first, so that no library's console does.

import { Console } from "node:console";

globalThis.console = new Console(process.stderr, process.stderr);

const LEVELS = ["trace", "debug", "info", "warn", "error"];
const lowest = Math.max(0, LEVELS.indexOf(process.env.JS_CLIENT_LOG ?? "warn"));

/** Writes one line of the protocol. */
export function emit(value) {
    process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** A logger as matrix-js-sdk wants one. */
export function logger(prefix = "") {
    const made = { getChild: (name) => logger(prefix + name) };
    LEVELS.forEach((level, rank) => {
        made[level] = (...said) => {
            if (rank >= lowest) console.error(new Date().toISOString(), level, prefix, ...said);
        };
    });
    return made;
}

/** An error as the other side reads it: what the homeserver said has its code and status. */
export function described(error) {
    return {
        name: error?.name ?? "Error",
        message: String(error?.message ?? error),
        code: error?.errcode ?? error?.code ?? null,
        status: error?.httpStatus ?? null,
    };
}
