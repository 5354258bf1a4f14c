"""What each of the paper's numbers does: the shipped nets and solvers with one thing changed, trained and measured.

`variants` says what is changed, `datasets` draws the images, `runs` trains and measures, `tables` compares.
The outcome stands in `solvers/ablation/README.md`.
"""

DIGITS, MNIST, PHANTOM = "digits", "mnist", "phantom"
DATASETS = (MNIST, DIGITS, PHANTOM)
