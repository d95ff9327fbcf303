"""Firmware simulators: what a base does with the bytes it gets, quirks and hazards included."""
