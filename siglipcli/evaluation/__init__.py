"""How good a label set is on images whose labels are known."""
