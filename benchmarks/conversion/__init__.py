"""Conversion quality: what every recipe loses on trained teachers, at how many SynOps, beside other converters."""
