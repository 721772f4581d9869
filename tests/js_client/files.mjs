// Files in rooms: encrypted and decrypted, with the hash checked, by the Rust crypto itself.

import { Attachment, EncryptedAttachment } from "@matrix-org/matrix-sdk-crypto-wasm";

export const commands = {
    /** Uploads and sends a file (its bytes in base64); encrypted where the room is. */
    async send_file(session, { room, name, mimetype, data, msgtype }) {
        await session.until(() => session.client.getRoom(room));
        const bytes = new Uint8Array(Buffer.from(data, "base64"));
        const content = { msgtype, body: name, info: { mimetype, size: bytes.length } };
        const upload = async (body, type) => {
            const { content_uri } = await session.client.uploadContent(new Blob([body]), { type });
            return content_uri;
        };
        if (await session.crypto.isEncryptionEnabledInRoom(room)) {
            const encrypted = Attachment.encrypt(bytes);
            const info = JSON.parse(encrypted.mediaEncryptionInfo);
            content.file = { ...info, url: await upload(encrypted.encryptedData, "application/octet-stream") };
        } else {
            content.url = await upload(bytes, mimetype);
        }
        const { event_id } = await session.client.sendEvent(room, "m.room.message", content);
        return event_id;
    },

    /** The bytes (base64) of the file that this `content` names; refused where its hash is wrong. */
    async download(session, { content }) {
        const { client } = session;
        const uri = content.file?.url ?? content.url;
        const url = client.mxcUrlToHttp(uri, undefined, undefined, undefined, false, true, true);
        if (!url) throw new Error(`${uri} is no address of a file.`);
        const headers = { Authorization: `Bearer ${client.getAccessToken()}` };
        const response = await fetch(url, { headers });
        if (!response.ok) throw new Error(`The homeserver answered ${response.status} for ${uri}.`);
        let bytes = new Uint8Array(await response.arrayBuffer());
        if (content.file) {
            bytes = Attachment.decrypt(new EncryptedAttachment(bytes, JSON.stringify(content.file)));
        }
        return Buffer.from(bytes).toString("base64");
    },
};
