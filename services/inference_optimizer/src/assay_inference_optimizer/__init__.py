"""inference-optimizer: how much faster can a language model run, at what loss?"""
