"""The tests. A package, as some installed ones have a module of this name."""
