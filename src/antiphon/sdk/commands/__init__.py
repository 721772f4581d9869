"""What each command does with the platform, for every surface (`sdk.commander` calls these)."""
