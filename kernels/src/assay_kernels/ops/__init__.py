"""One file per op: fp32 reference, CPU path, Triton kernel, dispatcher."""
