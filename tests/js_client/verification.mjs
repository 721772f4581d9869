// Interactive verification by emoji (SAS), asked for or accepted. Every step is reported as an
// event with the whole state of the request; the other side decides what to do next.

import { CryptoEvent } from "matrix-js-sdk/lib/crypto-api/CryptoEvent.js";
import {
    VerificationPhase,
    VerificationRequestEvent,
    VerifierEvent,
} from "matrix-js-sdk/lib/crypto-api/verification.js";

import { described, emit } from "./output.mjs";

const SAS = "m.sas.v1";

function phase(request) {
    return VerificationPhase[request.phase].toLowerCase();
}

function report(known) {
    const { id, request, sas, error } = known;
    emit({
        event: "verification",
        id,
        phase: phase(request),
        other_user: request.otherUserId,
        other_device: request.otherDeviceId ?? null,
        room: request.roomId ?? null,
        by_me: request.initiatedByMe,
        emoji: sas?.sas.emoji?.map(([symbol, name]) => ({ symbol, name })) ?? [],
        decimals: sas?.sas.decimal ?? [],
        cancel_code: request.cancellationCode,
        cancelled_by: request.cancellingUserId ?? null,
        error: error ?? null,
    });
}

/** Takes part in a verification as soon as a method has been chosen, by either side. */
function drive(known) {
    const { verifier } = known.request;
    if (!verifier || known.verifier) return;
    known.verifier = verifier;
    verifier.on(VerifierEvent.ShowSas, (sas) => {
        known.sas = sas;
        report(known);
    });
    verifier.verify().then(
        () => report(known),
        (error) => {
            known.error = described(error).message;
            report(known);
        },
    );
}

function follow(session, request) {
    const id = request.transactionId;
    const known = { id, request, verifier: null, sas: null, error: null };
    session.requests.set(id, known);
    request.on(VerificationRequestEvent.Change, () => {
        drive(known);
        report(known);
        session.changed();
    });
    drive(known);
    report(known);
    return id;
}

/** Reports every request that comes in. */
export function watch(session) {
    session.client.on(CryptoEvent.VerificationRequestReceived, (request) => follow(session, request));
}

function known(session, id) {
    const found = session.requests.get(id);
    if (!found) throw new Error(`There is no verification ${id}.`);
    return found;
}

function shown(session, id) {
    const { sas } = known(session, id);
    if (!sas) throw new Error(`The verification ${id} shows no emoji.`);
    return sas;
}

export const commands = {
    /** Asks a user in a room; with `device` that device, by to-device messages; with neither the
     *  other devices of this user. Gives the id of the verification. */
    async verify(session, { user, room, device }) {
        const { crypto } = session;
        if (room) {
            // The SDK wants the other's identity at hand.
            await crypto.getUserDeviceInfo([user], true);
            await crypto.userHasCrossSigningKeys(user, true);
            return follow(session, await crypto.requestVerificationDM(user, room));
        }
        if (device) return follow(session, await crypto.requestDeviceVerification(user, device));
        return follow(session, await crypto.requestOwnUserVerification());
    },

    verification_accept: (session, { id }) => known(session, id).request.accept(),

    async verification_start(session, { id }) {
        const found = known(session, id);
        await found.request.startVerification(SAS);
        drive(found);
    },

    verification_confirm: (session, { id }) => shown(session, id).confirm(),

    verification_mismatch: (session, { id }) => shown(session, id).mismatch(),

    verification_cancel: (session, { id }) => known(session, id).request.cancel(),
};
