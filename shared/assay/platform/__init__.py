"""The platform on Kubernetes: what a cluster lacks, a release's life, and what it is doing."""
