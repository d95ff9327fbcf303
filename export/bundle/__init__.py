"""A checkpoint directory to a verified bundle: description, graphs, probes, answers, and the check that holds it to the model."""
