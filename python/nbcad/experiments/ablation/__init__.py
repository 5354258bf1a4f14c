"""Ablation of the paper's numbers: the shipped nets and solvers with one change each, trained and measured.

`variants` defines the changes, `datasets` draws the images, `runs` trains and measures, `tables` compares.
`solvers/ablation/README.md` has the results.
"""

DIGITS, MNIST, PHANTOM = "digits", "mnist", "phantom"
DATASETS = (MNIST, DIGITS, PHANTOM)
