// The device itself: its login, its client with the Rust crypto, its sync, and how others wait for
// something to happen.

import "fake-indexeddb/auto";

import { EventEmitter, once } from "node:events";

import * as sdk from "matrix-js-sdk";
import { CryptoEvent } from "matrix-js-sdk/lib/crypto-api/CryptoEvent.js";
import { logger as sharedLogger } from "matrix-js-sdk/lib/logger.js";
import { RustBackupManager } from "matrix-js-sdk/lib/rust-crypto/backup.js";

import { emit, logger } from "./output.mjs";
import { load } from "./state.mjs";
import { watch } from "./verification.mjs";

export const STORE = "js-client";

// The SDK spreads many clients' uploads over ten seconds; one client needs no spreading.
RustBackupManager.maxBackupLoopStartDelayMillis = 0;

sharedLogger.setLevel("warn", false);

// Whatever may change what a person sees.
const CHANGES = [
    sdk.ClientEvent.Sync,
    sdk.ClientEvent.Room,
    sdk.RoomEvent.Timeline,
    sdk.RoomEvent.TimelineReset,
    sdk.RoomEvent.Redaction,
    sdk.RoomEvent.LocalEchoUpdated,
    sdk.RoomEvent.MyMembership,
    sdk.RoomStateEvent.Events,
    sdk.RoomMemberEvent.Membership,
    sdk.MatrixEventEvent.Decrypted,
    sdk.MatrixEventEvent.Replaced,
    CryptoEvent.DevicesUpdated,
    CryptoEvent.UserTrustStatusChanged,
    CryptoEvent.KeysChanged,
    CryptoEvent.KeyBackupStatus,
    CryptoEvent.KeyBackupSessionsRemaining,
    CryptoEvent.KeyBackupDecryptionKeyCached,
];

export class Session {
    client = null;
    /** For the homeserver's question who it is, when signing keys are uploaded. */
    password = null;
    /** The secret storage's key, once made or given by a person. */
    recoveryKey = null;
    requests = new Map();
    ended = false;
    #changes = new EventEmitter().setMaxListeners(0);
    #told = false;

    get crypto() {
        const crypto = this.client?.getCrypto();
        if (!crypto) throw new Error("Log in first.");
        return crypto;
    }

    /** Says that something happened; many at once are one. */
    changed() {
        if (this.#told) return;
        this.#told = true;
        setImmediate(() => {
            this.#told = false;
            this.#changes.emit("change");
            emit({ event: "changed" });
        });
    }

    /** Waits until `condition` gives something that is true, and gives that. */
    async until(condition) {
        for (;;) {
            const next = once(this.#changes, "change");
            const found = await condition();
            if (found) return found;
            await next;
        }
    }

    async open({ homeserver, userId, deviceId, accessToken, password }) {
        this.password = password;
        this.client = sdk.createClient({
            baseUrl: homeserver,
            userId,
            deviceId,
            accessToken,
            logger: logger(),
            verificationMethods: ["m.sas.v1"],
            cryptoCallbacks: {
                getSecretStorageKey: async ({ keys }) => {
                    const [keyId] = Object.keys(keys);
                    return this.recoveryKey && keyId ? [keyId, this.recoveryKey] : null;
                },
            },
        });
        for (const change of CHANGES) this.client.on(change, () => this.changed());
        watch(this);
        await this.client.initRustCrypto({ cryptoDatabasePrefix: STORE });
    }

    stop() {
        try {
            this.client?.stopClient();
        } catch (error) {
            console.error(error);
        }
    }

    async whoami() {
        const { ed25519, curve25519 } = await this.crypto.getOwnDeviceKeys();
        return {
            user_id: this.client.getUserId(),
            device_id: this.client.getDeviceId(),
            ed25519,
            curve25519,
            version: this.crypto.getVersion(),
        };
    }
}

export const commands = {
    async login(session, { homeserver, user, password, device_id, state }) {
        if (session.client) throw new Error("This device is already logged in.");
        const kept = state ? await load(state) : null;
        if (kept) {
            await session.open({ ...kept, password: password ?? kept.password });
            return await session.whoami();
        }
        const answer = await sdk.createClient({ baseUrl: homeserver, logger: logger() }).loginRequest({
            type: "m.login.password",
            identifier: { type: "m.id.user", user },
            password,
            device_id: device_id ?? undefined,
            initial_device_display_name: "matrix-js-sdk",
        });
        await session.open({
            homeserver,
            userId: answer.user_id,
            deviceId: answer.device_id,
            accessToken: answer.access_token,
            password,
        });
        return await session.whoami();
    },

    /** Starts the sync and waits for the first response. */
    async start(session) {
        await session.client.startClient({
            initialSyncLimit: 20,
            lazyLoadMembers: true,
            // Otherwise what the person just sent would be listed before the homeserver has it.
            pendingEventOrdering: sdk.PendingEventOrdering.Detached,
        });
        await session.until(() => session.client.isInitialSyncComplete());
    },

    whoami: (session) => session.whoami(),

    memory: () => process.memoryUsage(),

    async logout(session) {
        await session.client.logout(true);
        session.client = null;
        session.ended = true;
    },

    stop(session) {
        session.ended = true;
    },
};
