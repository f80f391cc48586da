"""What operators of a deployed stack do by hand."""
