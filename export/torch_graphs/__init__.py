"""A torch model as graphs: plain modules that can be traced, and the tracing of them into files."""
