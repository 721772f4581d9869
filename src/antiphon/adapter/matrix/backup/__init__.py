"""Backup and restore of a bot: its journal, its local state and the memories of its chats."""

from antiphon.adapter.matrix.backup.report import BackupReport
from antiphon.adapter.matrix.backup.write import write_backup

__all__ = ["BackupReport", "write_backup"]
