"""Methods that are trained once and then label any query: `predict(train, tests, label_key, *, seed, steps)`.

`train` are labelled studies, each with its own genes; `tests` are queries of any genes. Predictions are Cell Ontology
ids, "" for unknown cells.
"""
