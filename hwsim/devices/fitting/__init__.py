"""From measured pulse responses to a cell: maximum likelihood, held-out choice of the model, figures of merit."""
