"""Models behind one small port; only this package imports a model framework."""
