// The whole state of a device in one file: its login and its key store, as an IndexedDB holds it.
// For a second life of the same device; an older file rewinds ratchets, as a bad backup does.

import { readFile, rename, writeFile } from "node:fs/promises";
import { deserialize, serialize } from "node:v8";

const FORMAT = 1;

function done(request) {
    return new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
    });
}

function committed(transaction) {
    return new Promise((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
}

async function rows(store) {
    const found = [];
    const request = store.openCursor();
    for (let cursor = await done(request); cursor; cursor = await done(request)) {
        found.push([cursor.key, cursor.value]);
        cursor.continue();
    }
    return found;
}

async function dumped(name) {
    const database = await done(indexedDB.open(name));
    try {
        const names = [...database.objectStoreNames];
        const transaction = names.length ? database.transaction(names, "readonly") : null;
        const stores = [];
        for (const storeName of names) {
            const store = transaction.objectStore(storeName);
            const indexes = [...store.indexNames].map((index) => {
                const { name, keyPath, unique, multiEntry } = store.index(index);
                return { name, keyPath, unique, multiEntry };
            });
            const { keyPath, autoIncrement } = store;
            stores.push({ name: storeName, keyPath, autoIncrement, indexes, rows: await rows(store) });
        }
        return { name, version: database.version, stores };
    } finally {
        database.close();
    }
}

async function restored({ name, version, stores }) {
    const request = indexedDB.open(name, version);
    request.onupgradeneeded = () => {
        for (const { name, keyPath, autoIncrement, indexes } of stores) {
            const store = request.result.createObjectStore(name, { keyPath, autoIncrement });
            for (const index of indexes) store.createIndex(index.name, index.keyPath, index);
        }
    };
    const database = await done(request);
    try {
        const names = stores.map((store) => store.name);
        if (names.length === 0) return;
        const transaction = database.transaction(names, "readwrite");
        const end = committed(transaction);
        for (const { name, keyPath, rows } of stores) {
            const store = transaction.objectStore(name);
            for (const [key, value] of rows) {
                if (keyPath === null) store.put(value, key);
                else store.put(value);
            }
        }
        await end;
    } finally {
        database.close();
    }
}

/** Brings a state file's key stores back into this process; gives its login. */
export async function load(path) {
    const { format, login, databases } = deserialize(await readFile(path));
    if (format !== FORMAT) throw new Error(`${path} is no state of this client.`);
    for (const database of databases) await restored(database);
    return login;
}

export const commands = {
    async export_state(session, { path }) {
        const databases = [];
        for (const { name } of await indexedDB.databases()) databases.push(await dumped(name));
        const { client, password } = session;
        const login = {
            homeserver: client.getHomeserverUrl(),
            userId: client.getUserId(),
            deviceId: client.getDeviceId(),
            accessToken: client.getAccessToken(),
            password,
        };
        await writeFile(`${path}.new`, serialize({ format: FORMAT, login, databases }), { mode: 0o600 });
        await rename(`${path}.new`, path);
    },
};
