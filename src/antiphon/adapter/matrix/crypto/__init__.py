"""End-to-end encryption: the key store, the machine over it, and trust (decision 0024)."""
