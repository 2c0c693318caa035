"""One report card of a model, from the sections that services contribute."""
