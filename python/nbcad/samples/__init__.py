"""The sample database (paper 3.1(1)): built, split by patient, converted to LMDB, audited."""
