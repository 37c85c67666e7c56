"""From raw scans to training batches."""
