"""The Helm chart, before any cluster: what it renders, refuses and promises."""
