// Rooms: made, entered, left, and what is sent into them.

/** Waits until this client's own picture of a room has it as joined. */
async function joined(session, roomId) {
    await session.until(() => session.client.getRoom(roomId)?.getMyMembership() === "join");
    return roomId;
}

async function encrypted(session, roomId) {
    await session.until(() => session.crypto.isEncryptionEnabledInRoom(roomId));
}

function encryption({ rotation_ms, rotation_messages }) {
    const content = { algorithm: "m.megolm.v1.aes-sha2" };
    if (rotation_ms != null) content.rotation_period_ms = rotation_ms;
    if (rotation_messages != null) content.rotation_period_msgs = rotation_messages;
    return content;
}

export const commands = {
    async create_room(session, { name, invite, is_encrypted, history, direct, more, ...rotation }) {
        const state = [];
        if (is_encrypted) {
            state.push({ type: "m.room.encryption", state_key: "", content: encryption(rotation) });
        }
        if (history) {
            const content = { history_visibility: history };
            state.push({ type: "m.room.history_visibility", state_key: "", content });
        }
        const { room_id } = await session.client.createRoom({
            preset: "private_chat",
            name: name ?? undefined,
            invite,
            is_direct: direct,
            initial_state: state,
            ...more,
        });
        await joined(session, room_id);
        if (is_encrypted) await encrypted(session, room_id);
        return room_id;
    },

    async enable_encryption(session, { room, ...rotation }) {
        await session.client.sendStateEvent(room, "m.room.encryption", encryption(rotation), "");
        await encrypted(session, room);
    },

    is_encrypted: (session, { room }) => session.crypto.isEncryptionEnabledInRoom(room),

    async invite(session, { room, user }) {
        await session.client.invite(room, user);
    },

    async kick(session, { room, user, reason }) {
        await session.client.kick(room, user, reason ?? undefined);
    },

    /** Waits for the invitation to `room`, where it has not come yet. */
    async invited(session, { room }) {
        await session.until(() => session.client.getRoom(room)?.getMyMembership() === "invite");
    },

    async join(session, { room }) {
        await session.client.joinRoom(room);
        await joined(session, room);
    },

    async leave(session, { room }) {
        await session.client.leave(room);
    },

    async members(session, { room }) {
        const found = await session.until(() => session.client.getRoom(room));
        await found.loadMembersIfNeeded();
        return found
            .getMembers()
            .map((member) => ({ user_id: member.userId, membership: member.membership ?? "leave" }));
    },

    /** Any event; in an encrypted room the SDK encrypts it. Gives the event's id. */
    async send(session, { room, type, content }) {
        await session.until(() => session.client.getRoom(room));
        const { event_id } = await session.client.sendEvent(room, type, content);
        return event_id;
    },

    async redact(session, { room, event }) {
        const { event_id } = await session.client.redactEvent(room, event);
        return event_id;
    },

    /** The next message is encrypted with a new session. */
    discard_session: (session, { room }) => session.crypto.forceDiscardSession(room),
};
