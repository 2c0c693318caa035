"""What infra/ describes beside images: add-ons, clusters, a mesh, the runbook. Held against the chart."""
