"""The workshop that turns checkpoints into engine bundles. Run from the checkout; never installed with the package."""
