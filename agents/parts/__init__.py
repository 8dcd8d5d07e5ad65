"""What a host says of itself, by component: the parts of the answer of agents/sent/collector.py, which is sent with all of these.

They import the standard library, `asking`, and what BESIDES of agents/sent/__init__.py names.
"""
