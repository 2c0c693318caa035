"""Parts of the sensitivity benchmark."""
