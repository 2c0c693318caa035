"""Text from models: a loop that serves many requests at once, and scores of given texts."""
