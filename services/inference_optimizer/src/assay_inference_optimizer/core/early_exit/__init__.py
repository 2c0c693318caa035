"""Early exit: how soon a model knows its answer, and decoding that uses it.

The method follows the questions of arXiv:2603.23701. The formula of that paper's metric was not available; the
definitions here are ours, and each says so where it stands.
"""
