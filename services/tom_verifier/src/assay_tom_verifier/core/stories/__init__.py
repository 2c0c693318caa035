"""Stories of who sees what: text, events, beliefs."""
