"""Artifacts: immutable trees of files named by their content, in a local directory or an S3 bucket."""
