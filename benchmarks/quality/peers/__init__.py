"""What labels cells when it is trained anew for every query, on the genes that the query shares with its studies.

One file a peer, with `predict(train, tests, label_key, *, seed)`: `train` are labelled studies, `tests` versions of one
query, all with counts of the same genes; answers come as one array of labels a version. scim is not needed here.
"""
