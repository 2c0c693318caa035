"""Small language models trained here from local text, so that every measurement has a real model to work on."""
