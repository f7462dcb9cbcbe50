"""Read-outs: linear classifiers fitted to tables of features when a training has ended, and the choice among them."""
