"""What `jetson-check` tries on a device and what it says of it."""
