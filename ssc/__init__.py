"""Structured semantic consistency for unpaired CT and MRI: method, experiment matrix, tables."""
