"""Parts of the recall benchmark."""
