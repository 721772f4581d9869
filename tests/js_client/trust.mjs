// Who is trusted: devices and identities as this client sees them, whom it encrypts to, its own
// cross-signing keys, secret storage and key backup.

import {
    AllDevicesIsolationMode,
    OnlySignedDevicesIsolationMode,
} from "matrix-js-sdk/lib/crypto-api/index.js";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/recovery-key.js";

/** The homeserver may want the password again; the first upload often goes without. */
function uploader(session) {
    return async (upload) => {
        try {
            return await upload(null);
        } catch (error) {
            const asked = error?.data?.session;
            if (!asked || session.password === null) throw error;
            return await upload({
                type: "m.login.password",
                identifier: { type: "m.id.user", user: session.client.getUserId() },
                password: session.password,
                session: asked,
            });
        }
    };
}

async function backedUp(session) {
    const { crypto } = session;
    if ((await crypto.getActiveSessionBackupVersion()) === null) return false;
    // Asked directly: the SDK keeps its first answer.
    const { count } = await session.client.http.authedRequest("GET", "/room_keys/version");
    return count >= (await crypto.exportRoomKeys()).length;
}

export const commands = {
    /** Devices of a user, asked of the homeserver anew. */
    async devices(session, { user }) {
        const { crypto } = session;
        const devices = (await crypto.getUserDeviceInfo([user], true)).get(user) ?? new Map();
        return await Promise.all(
            [...devices.values()].map(async (device) => {
                const status = await crypto.getDeviceVerificationStatus(user, device.deviceId);
                return {
                    device_id: device.deviceId,
                    name: device.displayName ?? null,
                    ed25519: device.getFingerprint() ?? null,
                    curve25519: device.getIdentityKey() ?? null,
                    signed_by_owner: status?.signedByOwner ?? false,
                    cross_signing_verified: status?.crossSigningVerified ?? false,
                    locally_verified: status?.localVerified ?? false,
                    verified: status?.isVerified() ?? false,
                };
            }),
        );
    },

    async identity(session, { user }) {
        const { crypto } = session;
        const has_keys = await crypto.userHasCrossSigningKeys(user, true);
        const status = await crypto.getUserVerificationStatus(user);
        return {
            has_keys,
            known: status.known,
            verified: status.isVerified(),
            was_verified: status.wasCrossSigningVerified(),
            needs_approval: status.needsUserApproval,
        };
    },

    /** Accepts a changed identity as it is now. */
    async approve_identity(session, { user }) {
        await session.crypto.pinCurrentUserIdentity(user);
        await session.crypto.withdrawVerificationRequirement(user);
    },

    only_signed_devices(session, { on }) {
        const mode = on ? new OnlySignedDevicesIsolationMode() : new AllDevicesIsolationMode(false);
        session.crypto.setDeviceIsolationMode(mode);
    },

    only_verified_devices(session, { on }) {
        session.crypto.globalBlacklistUnverifiedDevices = on;
    },

    /** Makes cross-signing keys and signs this device; `anew` replaces an identity that is there. */
    async cross_sign(session, { anew }) {
        await session.crypto.bootstrapCrossSigning({
            setupNewCrossSigning: anew,
            authUploadDeviceSigningKeys: uploader(session),
        });
    },

    /** Cross-signing, secret storage and key backup; gives the recovery key. */
    async set_up_recovery(session) {
        const { crypto } = session;
        const made = await crypto.createRecoveryKeyFromPassphrase();
        session.recoveryKey = made.privateKey;
        await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: uploader(session) });
        await crypto.bootstrapSecretStorage({
            createSecretStorageKey: async () => made,
            setupNewSecretStorage: true,
            setupNewKeyBackup: true,
        });
        return made.encodedPrivateKey;
    },

    /** With the recovery key: takes the cross-signing keys, signs this device, and reads the backup. */
    async recover(session, { recovery_key }) {
        const { client, crypto } = session;
        const key = decodeRecoveryKey(recovery_key);
        const stored = await client.secretStorage.getKey();
        if (!stored) throw new Error("This account has no secret storage.");
        if (!(await client.secretStorage.checkKey(key, stored[1]))) {
            throw new Error("The recovery key is not the one of the account's secret storage.");
        }
        session.recoveryKey = key;
        // Asked anew: keys taken before the account's public ones are known are not imported.
        await session.until(() => crypto.userHasCrossSigningKeys());
        await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: uploader(session) });
        if ((await crypto.getKeyBackupInfo()) === null) return { total: 0, imported: 0 };
        await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
        await crypto.checkKeyBackupAndEnable();
        const { total, imported } = await crypto.restoreKeyBackup();
        return { total, imported };
    },

    /** Waits until the homeserver's backup has every room key of this device. */
    async backed_up(session) {
        await session.until(() => backedUp(session));
    },

    async own_trust(session) {
        const { crypto } = session;
        const { trusted, matchesDecryptionKey } = await crypto
            .getKeyBackupInfo()
            .then((info) => (info ? crypto.isKeyBackupTrusted(info) : {}));
        return {
            cross_signing_ready: await crypto.isCrossSigningReady(),
            secret_storage_ready: await crypto.isSecretStorageReady(),
            backup_version: await crypto.getActiveSessionBackupVersion(),
            backup_trusted: trusted ?? false,
            backup_matches_key: matchesDecryptionKey ?? false,
        };
    },

    export_keys: (session) => session.crypto.exportRoomKeysAsJson(),

    import_keys: (session, { keys }) => session.crypto.importRoomKeysAsJson(keys),
};
