"""A small policy taught in the simulator: a teacher that knows where everything is, episodes it drives, a student that only sees."""
