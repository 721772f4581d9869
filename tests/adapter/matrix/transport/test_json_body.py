"""Reading and writing JSON bodies."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.adapter.matrix.transport import json_body
from antiphon.adapter.matrix.transport.json_body import NotJsonError, decode, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": "\\ud800"}', {"a": "\ufffd"}),
        (b'{"\\udc00": 1}', {"\ufffd": 1}),
        (b'{"a": "\\ud83d\\ude00", "b": "\\ud800"}', {"a": "😀", "b": "\ufffd"}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'{"a": "x\x01y"}', {"a": "x\x01y"}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 1e999}', {"a": float("inf")}),
        (b'{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
    ],
)
def test_one_odd_value_does_not_spoil_the_body(body: bytes, value: object) -> None:
    assert decode(body) == value


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": 1', b'{"a": }', b"\x00", b"[" * 10])
def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(NotJsonError):
        decode(body)


@pytest.mark.parametrize("depth", [json_body.MAX_DEPTH, 1_000, 100_000])
def test_a_value_nested_too_deep_becomes_null_and_its_neighbours_stay(depth: int) -> None:
    deep = b"[" * depth + b'"]}"' + b"]" * depth
    value = decode(b'{"before": 1, "deep": ' + deep + b', "after": {"b": "[x"}}')
    assert (value["before"], value["after"]) == (1, {"b": "[x"})


def test_a_body_cut_off_in_its_depth_is_no_json() -> None:
    with pytest.raises(NotJsonError):
        decode(b"[" * 100_000)


@given(JSON)
def test_reads_whatever_python_writes(value: object) -> None:
    assert decode(json.dumps(value).encode()) == value


@given(st.binary())
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    with contextlib.suppress(NotJsonError):
        decode(body)


def test_a_lone_surrogate_is_sent_as_a_replacement_character() -> None:
    assert decode(encode({"body": "a\ud800b", "more": ("\udfff",)})) == {
        "body": "a\ufffdb",
        "more": ["\ufffd"],
    }
