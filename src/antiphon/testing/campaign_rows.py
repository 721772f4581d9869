"""The faults that must be survived, each with the tests that inject it and the scenarios of the
campaign that do; `docs/reliability.md` shows them as a table."""

from __future__ import annotations

import msgspec

APP = "tests/adapter/matrix/test_app.py"
DRIFT = "tests/adapter/matrix/test_drift.py"
FOUND = "tests/adapter/matrix/test_found.py"
INBOUND = "tests/adapter/matrix/journal/test_inbound.py"
PROCESS = "tests/agent/test_process.py"
LIVE = "tests/live/test_end_to_end.py"
BAD = "tests/adapter/matrix/test_bad_state.py"
CLIENT = "tests/agent_api/test_client.py"
PROTOCOL = "tests/agent_api/test_protocol.py"
RESET = "tests/live/test_reset_live.py"
ROOMS = "tests/live/test_drift_live.py"
ENCRYPTED = "tests/adapter/matrix/test_encrypted.py"
SEALED = "tests/live/test_encrypted_live.py"
KEYS = "tests/crash/test_key_store_killed.py"
TRANSPORT = "tests/adapter/matrix/transport"


class Row(msgspec.Struct, frozen=True):
    """A fault. Without tests and kinds it belongs to a feature that is not there yet."""

    fault: str
    tests: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


ROWS: tuple[Row, ...] = (
    Row(
        "adapter killed anywhere",
        (f"{LIVE}::test_killed_in_mid_answer_the_same_message_is_finished_once",),
        ("kill", "five_while_down"),
    ),
    Row("killed again while recovering", kinds=("kill",)),
    Row(
        "response to a send lost",
        (
            (
                f"{TRANSPORT}/test_matrix_client.py::"
                "test_a_lost_answer_is_unreachable_and_repeating_it_gives_the_same_event"
            ),
        ),
        ("lost_response",),
    ),
    Row("send times out", kinds=("lost_response", "late_edit")),
    Row(
        "429",
        ("tests/live/test_limits.py::test_default_limits_shed_edits_and_lose_no_final",),
        ("lost_response",),
    ),
    Row("5xx, HTML, truncated body", kinds=("lost_response",)),
    Row("homeserver killed in mid-send", kinds=("synapse_killed", "all_killed")),
    Row(
        "homeserver down for an hour",
        (f"{FOUND}::test_a_homeserver_that_is_away_for_an_hour_is_caught_up_with_in_order",),
    ),
    Row(
        "an uncertain send older than a day",
        (
            (
                "tests/adapter/matrix/test_delivery.py::"
                "test_an_uncertain_send_older_than_a_day_looks_at_the_room_first"
            ),
        ),
    ),
    Row(
        "limited timeline",
        (
            f"{INBOUND}::test_a_gap_holds_the_room_back_until_it_is_read_and_keeps_the_order",
            f"{TRANSPORT}/test_transport_live.py::test_a_gap_is_read_back_whole",
        ),
        ("kill",),
    ),
    Row(
        "cursor lost",
        (f"{DRIFT}::test_with_the_cursor_deleted_nothing_is_replayed_and_nothing_lost",),
        ("cursor_deleted",),
    ),
    Row("stale sync response", kinds=("lost_response",)),
    Row(
        "event delivered twice",
        (
            f"{APP}::test_an_event_delivered_twice_is_answered_once",
            f"{INBOUND}::test_an_event_delivered_twice_causes_one_turn",
        ),
        ("lost_response",),
    ),
    Row("partial edit outranks the final", kinds=("late_edit",)),
    Row(
        "agent connection cut in mid-run",
        (
            f"{CLIENT}::test_no_fault_of_the_wire_changes_the_answer",
            "tests/sdk/test_agent_session.py::test_cuts_and_crashes_do_not_show",
        ),
        ("cut_agent",),
    ),
    Row(
        "agent killed in mid-run",
        (
            f"{LIVE}::test_the_agent_killed_in_mid_answer_resumes_in_the_same_message",
            f"{PROCESS}::test_killed_in_mid_run_it_resumes_from_the_last_whole_step",
        ),
        ("kill", "all_killed"),
    ),
    Row(
        "agent hangs",
        ("tests/agent/test_service_runs.py::test_a_hanging_model_ends_by_the_deadline",),
    ),
    Row(
        "late frames of an old epoch",
        (f"{PROTOCOL}::test_an_older_attempt_is_late_whatever_its_number",),
    ),
    Row("thread ids crossed", kinds=("canaries_50", "kill", "lost_response")),
    Row("a stopped process that wakes up (zombie)", kinds=("zombie", "freeze")),
    Row(
        "two adapters on one state",
        (
            (
                "tests/crash/test_two_adapters.py::"
                "test_the_second_adapter_is_refused_until_the_first_is_dead"
            ),
        ),
    ),
    Row(
        "database full, locked, I/O error",
        (
            (
                "tests/agent/test_service_faults.py::"
                "test_a_locked_database_delays_the_run_and_loses_nothing"
            ),
            "tests/db/test_bad_databases.py::test_a_full_disk_is_refused_and_works_again_when_there_is_room",
            f"{BAD}::test_a_full_disk_is_refused",
            f"{BAD}::test_a_journal_that_is_locked_later_ends_it_and_nothing_is_lost",
        ),
    ),
    Row("old backup restored", kinds=("backup_restored",)),
    Row(
        "reset while a turn runs",
        (f"{RESET}::test_a_reset_while_a_turn_runs_cancels_it_once_and_sends_nothing_more",),
    ),
    Row(
        "kicked, banned",
        (f"{APP}::test_kicked_in_mid_answer_it_cancels_and_a_new_invite_works",),
    ),
    Row("room upgraded", (f"{ROOMS}::test_an_upgraded_room_is_followed_with_its_memory",)),
    Row("invited while down", kinds=("kill",)),
    Row(
        "token revoked",
        (
            f"{LIVE}::test_a_revoked_token_ends_the_adapter_with_a_clear_error",
            f"{APP}::test_a_revoked_token_ends_it_with_a_clear_error",
        ),
    ),
    Row("the question edited or redacted while answered", kinds=("changed",)),
    Row(
        "malformed events, frames and settings",
        (
            f"{APP}::test_malformed_events_are_skipped_and_the_rest_answered",
            f"{PROTOCOL}::test_frames_of_unknown_kinds_and_threads_are_skipped",
        ),
    ),
    Row(
        "partial edit lands after the final (timed-out send, zombie)", kinds=("late_edit", "zombie")
    ),
    Row(
        "answer's root redacted by a moderator",
        (f"{ROOMS}::test_an_answer_redacted_in_mid_stream_ends_there",),
    ),
    Row(
        "encryption switched on in mid-answer",
        (
            (
                f"{ENCRYPTED}::"
                "test_switched_on_in_mid_answer_the_whole_is_said_anew_and_the_clear_part_goes"
            ),
        ),
        ("encrypted_on",),
    ),
    Row(
        "in encrypted rooms: killed at any point of the key store",
        (f"{KEYS}::test_every_question_has_one_answer_that_can_be_read",),
        ("encrypted_kill",),
    ),
    Row(
        "in encrypted rooms: messages sent while it was down",
        (f"{SEALED}::test_killed_in_mid_answer_and_spoken_to_while_down",),
        ("encrypted_mixed",),
    ),
    Row(
        "in encrypted rooms: requests for keys, and room keys to devices, lost or refused",
        kinds=("encrypted_faults",),
    ),
    Row("in encrypted rooms: the homeserver killed", kinds=("encrypted_synapse",)),
    Row(
        "in encrypted rooms: the user has a new device in mid-answer",
        (f"{SEALED}::test_a_new_device_of_the_user_reads_and_asks",),
        ("encrypted_device",),
    ),
    Row(
        "in encrypted rooms: keys replaced by the room's settings, and when a member left",
        (f"{SEALED}::test_a_member_who_joins_later_reads_only_what_is_new",),
        ("encrypted_members",),
    ),
    Row(
        "message sent while kicked, then re-invited",
        (f"{ROOMS}::test_what_is_said_while_it_is_out_is_not_answered_after_it_is_back",),
    ),
    Row(
        "an upgrade that names us a stranger's room",
        (
            f"{ROOMS}::test_a_tombstone_that_names_a_strangers_room_moves_no_memory",
            f"{ROOMS}::test_a_room_that_claims_to_follow_ours_gets_no_memory",
            f"{ROOMS}::test_an_upgrade_by_somebody_not_allowed_is_not_followed",
        ),
    ),
    Row(
        "agent killed between a tool's effect and its record",
        (f"{PROCESS}::test_killed_between_effect_and_record",),
        ("kill",),
    ),
    Row(
        "a run that kills the agent each time",
        (f"{PROCESS}::test_a_run_that_kills_the_agent_each_time_ends_after_three_attempts",),
    ),
    Row(
        "agent restored from an older backup (cursor ahead)",
        (
            (
                "tests/agent/test_service_attach.py::"
                "test_a_cursor_ahead_of_a_restored_backup_gets_a_snapshot"
            ),
            f"{CLIENT}::test_an_agent_that_lost_its_record_is_asked_anew",
        ),
        ("backup_restored",),
    ),
    Row("an edit of the question arrives between answer and delivery", kinds=("changed",)),
    Row(
        "homeserver slow (2 s a send)",
        (
            (
                "tests/crash/test_slow_homeserver.py::"
                "test_first_words_and_finals_come_and_edits_are_shed"
            ),
        ),
    ),
)
