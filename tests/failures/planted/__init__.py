"""Bugs of the kinds that the fault tests are there to find, as patches of the product."""
