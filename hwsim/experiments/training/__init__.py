"""Training a model of the shelf, and putting its weights there."""
