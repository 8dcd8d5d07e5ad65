"""The figures that README quotes: `python -m benchmarks [deploy|failover|tasks]`, as root, on a lab of its own."""
