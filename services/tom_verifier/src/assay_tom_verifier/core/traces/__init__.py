"""Reasoning step by step about a story: written, read, labelled, and made wrong on purpose."""
