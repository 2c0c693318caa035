"""How many replicas, GPUs and nodes a traffic needs, and what autoscaling does with it: reckoned and simulated.

`plan` is arithmetic over formulas named in `queueing`; `simulation` lets a cluster of thousands of nodes run on paper.
Neither talks to a cluster: plain Python, no gRPC, Ray or Kubernetes.
"""
