"""`antiphon matrix doctor`: looks whether the adapter can work, and changes nothing."""
