"""Process belief models: score the steps of a belief trace, and choose among traces by it."""
