"""Latency of every stage in the real code path, and whether the answers are still the same: what a pipeline can gate on."""
