"""The workshop that turns checkpoints into engine bundles. Run from the checkout; never installed with the package.

A module at this level is a command of `python -m export`. The packages are what the commands are made of:
`torch_graphs` (torch to graphs), `files` (graphs on disk), `bundle` (graphs to a verified bundle), `precision`, `planning`,
`plans` (TensorRT), `board` (checks on a device), `gate` (what TensorRT's parser would refuse), `finder` (the default engine).
"""
