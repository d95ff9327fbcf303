"""A bundle's fp32 graphs in another precision. One pass a file (`half`, `qdq`, `nbits`), chosen in `narrowing`."""
