"""What the machine says of itself in files: board, power mode, clocks, heat. Standard library only; every root may be a test's own tree."""
