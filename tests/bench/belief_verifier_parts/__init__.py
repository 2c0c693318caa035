"""Parts of the bench of belief verifiers."""
