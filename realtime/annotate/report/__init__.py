"""Report of one input in HTML: one file without outside links."""
