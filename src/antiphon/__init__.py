"""Antiphon: an AI agent in Matrix rooms, one answer for every message."""
