"""What the adapter counts, for `/metrics`. Labels never carry ids of people or rooms."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


class Metrics:
    """One adapter's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.syncs = self._counter("sync_total", "Sync requests by result.", "result")
        self.events = self._counter("events_total", "Timeline events by what became of them.", "as")
        self.problems = self._counter("malformed_total", "Malformed things skipped in syncs.")
        self.turns = self._counter("turns_total", "Turns by how they ended.", "end")
        self.sends = self._counter("sends_total", "Sends by class and result.", "class", "result")
        self.rate_limited = self._counter("rate_limited_total", "Answers 429 of the homeserver.")
        self.last_sync_s = 0.0
        self._last_sync = Gauge(
            "antiphon_matrix_last_sync_timestamp_seconds",
            "When the last sync was committed.",
            registry=self.registry,
        )
        self.lanes = Gauge(
            "antiphon_matrix_lanes_active",
            "Chats in which a turn is being worked on.",
            registry=self.registry,
        )
        self.outbox_pending = Gauge(
            "antiphon_matrix_outbox_pending",
            "Events that the homeserver has not confirmed.",
            registry=self.registry,
        )
        self.outbox_age = Gauge(
            "antiphon_matrix_outbox_oldest_seconds",
            "Age of the oldest unconfirmed event.",
            registry=self.registry,
        )
        self.unreadable = Gauge(
            "antiphon_matrix_unreadable",
            "Encrypted messages that wait for their key.",
            registry=self.registry,
        )
        self.late_keys = self._counter(
            "late_keys_total", "Messages that waited for a key, by how that ended.", "end"
        )
        self.to_device = self._counter(
            "to_device_total", "To-device messages by what became of them.", "result"
        )
        self.decrypted = self._counter(
            "decrypted_total", "Encrypted messages by whether they could be read.", "result"
        )
        self._standing = Gauge(
            "antiphon_matrix_encryption",
            "How encryption stands: 1 or 0; identities_changed: people.",
            ("what",),
            registry=self.registry,
        )
        self._reconciled = Gauge(
            "antiphon_matrix_reconcile_timestamp_seconds",
            "When the rooms were last reconciled: at the last start.",
            registry=self.registry,
        )
        self._found = Gauge(
            "antiphon_matrix_reconcile_found",
            "What the last reconciliation found, by kind.",
            ("what",),
            registry=self.registry,
        )
        self.first_text = Histogram(
            "antiphon_matrix_first_text_seconds",
            "From a question's arrival to the first text in its room.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.finished = Histogram(
            "antiphon_matrix_finished_seconds",
            "From a question's arrival to its finished answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"antiphon_matrix_{name}", text, labels, registry=self.registry)

    def synced(self, now_s: float) -> None:
        """A sync was committed (seconds of the wall clock)."""
        self.last_sync_s = now_s
        self._last_sync.set(now_s)

    def standing(self, what: str, value: float) -> None:
        """How the account's encryption stands: see `Cipher.on_standing`."""
        self._standing.labels(what).set(value)

    def reconciled(self, counts: Mapping[str, int], now_s: float) -> None:
        """The rooms were reconciled, and this was found."""
        self._reconciled.set(now_s)
        for what, number in counts.items():
            self._found.labels(what).set(number)

    def ended(self) -> dict[str, int]:
        """How many turns have ended so far, by how."""
        return {
            sample.labels["end"]: int(sample.value)
            for metric in self.turns.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }

    def expose(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
