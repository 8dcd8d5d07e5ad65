"""Programs of ours that run on the cluster's hosts: the standard library and cluster.quorum alone, for Python 3.10.

The deploy puts this package and that module side by side into a directory of their own, from which
`python3 -I DIRECTORY PROGRAM SPECIFICATION` starts one of them (see __main__.py).
"""
