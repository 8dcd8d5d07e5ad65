"""Programs of ours that run on the cluster's hosts: the standard library alone, for Python 3.10, and of cluster what lies there.

The deploy puts the modules of this package and those side by side into a directory of their own, from which
`python3 -I -S DIRECTORY PROGRAM SPECIFICATION` starts one of them (see __main__.py). What is in sent/ lies on no host: it is
sent there for one question.
"""
