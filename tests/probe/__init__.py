"""A service of the tests' own, small enough to be understood at a glance: it tests the chassis, not a science."""
