// What a person sees in a room now: everything back to where this user may look, decrypted as far
// as the keys go, edits applied by the SDK, each with the shield that a client would draw.

import { EventTimeline, MatrixEvent } from "matrix-js-sdk";
import { EventShieldColour, EventShieldReason } from "matrix-js-sdk/lib/crypto-api/index.js";

const PAGE = 100;

function name(kind, value) {
    return value == null ? null : kind[value].toLowerCase();
}

/** All events of the room, oldest first, after trying once more to decrypt each. None where the
 *  room has not come by sync yet: a homeserver's first answer may be an old one. */
async function events(session, roomId) {
    const room = session.client.getRoom(roomId);
    if (!room) return [];
    const timeline = room.getLiveTimeline();
    while (timeline.getPaginationToken(EventTimeline.BACKWARDS)) {
        const more = await session.client.paginateEventTimeline(timeline, {
            backwards: true,
            limit: PAGE,
        });
        if (!more) break;
    }
    const found = [...timeline.getEvents()];
    await Promise.all(found.map((event) => settled(session, event)));
    return found;
}

async function settled(session, event) {
    await session.client.decryptEventIfNeeded(event);
    await event.getDecryptionPromise();
    const edit = event.replacingEvent();
    if (edit) await session.client.decryptEventIfNeeded(edit);
}

async function shield(session, event) {
    const info = event.isEncrypted() ? await session.crypto.getEncryptionInfoForEvent(event) : null;
    return {
        shield: name(EventShieldColour, info?.shieldColour) ?? "none",
        shield_reason: name(EventShieldReason, info?.shieldReason),
    };
}

/** The sign of trouble that a client shows in place of the text, or null. */
function failure(event) {
    return event.isDecryptionFailure() ? event.decryptionFailureReason : null;
}

async function raw(session, event) {
    return {
        event_id: event.getId(),
        sender: event.getSender(),
        type: event.getType(),
        state_key: event.getStateKey() ?? null,
        content: event.getOriginalContent(),
        wire_type: event.getWireType(),
        wire_content: event.getWireContent(),
        sent_ms: event.getTs(),
        encrypted: event.isEncrypted(),
        redacted: event.isRedacted(),
        failure: failure(event),
        txn_id: event.getUnsigned().transaction_id ?? null,
        ...(await shield(session, event)),
    };
}

function editOf(event) {
    const relation = event.getWireContent()["m.relates_to"] ?? event.getRelation();
    return relation?.rel_type === "m.replace" ? relation.event_id : null;
}

/** Messages, and what may be one: who can't read it can't know. A request for a verification has
 *  the type of a message and is shown as none. */
function isMessage(event) {
    if (event.isState()) return false;
    if (event.getOriginalContent().msgtype === "m.key.verification.request") return false;
    return event.getType() === "m.room.message" || event.getType() === "m.room.encrypted";
}

function text(content) {
    return typeof content?.body === "string" ? content.body : "";
}

async function message(session, root, edits) {
    const edit = root.replacingEvent();
    const content = root.getContent();
    const readable = edits.filter((event) => failure(event) === null && !event.isRedacted());
    const versions = readable.map((event) => event.getOriginalContent()["m.new_content"]);
    return {
        ...(await raw(session, root)),
        content,
        body: failure(root) === null ? text(content) : "",
        texts: [root.getOriginalContent(), ...versions].map(text),
        edit: edit ? await raw(session, edit) : null,
        unreadable_edits: edits.filter((event) => failure(event) !== null).length,
    };
}

export const commands = {
    /** Messages (not edits of them), oldest first, as they are shown now. */
    async messages(session, { room }) {
        const roots = [];
        const edits = new Map();
        for (const event of (await events(session, room)).filter(isMessage)) {
            const target = editOf(event);
            if (target === null) roots.push(event);
            else edits.set(target, [...(edits.get(target) ?? []), event]);
        }
        return await Promise.all(
            roots.map((event) => message(session, event, edits.get(event.getId()) ?? [])),
        );
    },

    /** What this device reads in events as the homeserver gave them to somebody else: type and
     *  content of each, null where it has no key. */
    async decrypt(session, { events }) {
        const read = async (given) => {
            const event = new MatrixEvent(given);
            await session.client.decryptEventIfNeeded(event);
            await event.getDecryptionPromise();
            if (event.isDecryptionFailure() || event.getClearContent() === null) return null;
            return { type: event.getType(), content: event.getOriginalContent() };
        };
        return await Promise.all(events.map(read));
    },

    /** Every event, oldest first, edits and state as events of their own. */
    async events(session, { room }) {
        return await Promise.all((await events(session, room)).map((event) => raw(session, event)));
    },
};
