"""How good a label set is on pictures whose labels are known."""
