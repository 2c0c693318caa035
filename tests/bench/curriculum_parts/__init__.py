"""Parts of the curriculum benchmark."""
