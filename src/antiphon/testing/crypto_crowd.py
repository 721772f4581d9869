"""People with many devices that are only keys in the directory: they can be given keys, and never
read them."""

from __future__ import annotations

import vodozemac

from antiphon.adapter.matrix.crypto import own_keys
from antiphon.adapter.matrix.crypto.own_keys import CURVE
from antiphon.testing.crypto_directory import Directory


def crowd(directory: Directory, people: int, each: int) -> list[str]:
    """`people` users with `each` devices, D0 and so on, each with a one-time key."""
    names = [f"@u{number}:x" for number in range(people)]
    for user_id in names:
        for number in range(each):
            device_id = f"D{number}"
            account = vodozemac.Account()
            me = own_keys.me_of(user_id, device_id, account)
            place = directory.of(user_id, device_id)
            place.keys = own_keys.device_keys(me, account)
            account.generate_one_time_keys(1)
            place.one_time = {
                f"{CURVE}:{key_id}": own_keys.signed_by(me, account, {"key": key.to_base64()})
                for key_id, key in account.one_time_keys.items()
            }
    return names
