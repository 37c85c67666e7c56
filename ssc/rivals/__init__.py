"""Other methods for modalities that were never paired: networks and losses of their own, from facts alone."""
