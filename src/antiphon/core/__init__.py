"""Surface-neutral decisions: ids, chats, turns, lanes, commands, rendering. No I/O."""
