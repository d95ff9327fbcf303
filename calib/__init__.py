"""The workshop that measures a robot and its engine. Run from the checkout; never installed with the package."""
