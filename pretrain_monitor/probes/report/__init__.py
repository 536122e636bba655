"""Results of probes for people: curves over models, in the terminal and as a page. Pure functions of the results."""
