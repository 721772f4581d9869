"""The control plane: users, chats, sessions and settings of all surfaces, over HTTP."""
