"""Dynamic epistemic logic, stories, verifiers and sensitive parameters: knows no transport."""
