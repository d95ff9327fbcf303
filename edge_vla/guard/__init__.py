"""The guard: the only process that opens the base's serial port. Standard library and pyserial only."""
