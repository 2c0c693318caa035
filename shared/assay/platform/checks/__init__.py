"""One question to the cluster a file; each answers with findings."""
