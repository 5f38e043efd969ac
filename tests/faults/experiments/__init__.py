"""One module an experiment, named as in the catalogue of failure scenarios."""
