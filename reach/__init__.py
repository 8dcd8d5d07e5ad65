"""How the operator reaches hosts by SSH: one answer for the deploy and the tasks.

`configuration` reads what SSH's configuration says, `keys` finds what to log in with, `connecting` logs in, and says in words
why it could not.
"""
