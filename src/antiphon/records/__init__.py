"""Who and what, as rows: users, chats, sessions, settings, roles, usage, audit."""
