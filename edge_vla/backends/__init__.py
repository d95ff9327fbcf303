"""Engines: one file per runtime, all reading the same bundle."""
