"""Tables, figures and notebooks from the scores. No torch."""
