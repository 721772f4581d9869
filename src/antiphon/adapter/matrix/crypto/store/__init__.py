"""The key store's tables, and functions over a Connection, one noun a file. Nothing here decides,
encrypts or verifies; pickles and secrets come sealed and go sealed."""
