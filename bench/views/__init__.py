"""Records for people: cells and tables of them, growth with the length, pictures of sequences, summaries."""
