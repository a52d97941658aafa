"""Peers: other methods that are trained for every query, on the genes that the query shares with the studies.

One file per peer, with `predict(train, tests, label_key, *, seed)`: `train` are labelled studies, `tests` variants of
one query, all with counts of the same genes; it returns an array of labels per variant. The peers do not need scim.
"""
