"""End-to-end encryption: the key store, the machine over it, and trust (docs/decisions/0024-encryption.md)."""
