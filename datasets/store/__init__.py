"""Arrays that are made once and kept, and how they become the network's numbers; no data set is known here."""
