"""The features, one folder each, all of one shape. They never import one another."""
