"""How fast the forms of a model are on this machine, beside what other libraries make of it."""
