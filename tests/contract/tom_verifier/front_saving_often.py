"""A front whose trainings save where they stand several times a second, for a process that is killed in the midst."""

from assay.server.__main__ import main
from assay_tom_verifier.core.verifier import optimise

optimise.CHECKPOINT_EVERY_S = 0.2

if __name__ == "__main__":
    main()
