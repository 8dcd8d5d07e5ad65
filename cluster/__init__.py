"""What the cluster is: settings, topology, timing, secrets, and every decision that can be made without a connection."""
