"""The terminal as a surface: the same core and sdk as Matrix, for one person on this machine."""
