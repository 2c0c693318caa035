"""Dynamic epistemic logic: who knows and believes what, and what events do to it."""
