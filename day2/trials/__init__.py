"""How what a cluster does under a fault is measured: writers, readers, watchers, one trial, a series of them."""
