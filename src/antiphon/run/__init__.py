"""Child processes kept running: how `antiphon run` and the demo keep agent and adapter alive.

Knows settings and processes; knows nothing of Matrix, models or what its children do.
"""
