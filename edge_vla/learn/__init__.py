"""Models and their training. The only package that imports torch."""
