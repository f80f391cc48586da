"""Schedules that broke a promise once, each with what was wrong."""

FOUND: list[str] = []
