"""tom-verifier: does a model follow who believes what, checked against dynamic epistemic logic?"""
