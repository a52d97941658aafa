"""What is trained once and then labels any query: `predict(train, tests, label_key, *, seed, steps)`, as in peers.

`train` are labelled studies, each with its own genes; `tests` are queries of any genes. Answers are Cell Ontology ids,
"" where the query is unknown.
"""
