"""From LMDB to models: solver, organ SVM, hard negatives, operating point and calibration."""
