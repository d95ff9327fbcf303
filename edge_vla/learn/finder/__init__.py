"""Finder: the small VLM behind the default engine. PaliGemma's interface, a free vision tower, Gemma's decoder."""
