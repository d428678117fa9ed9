"""What was published: files found, fetched, verified and read; no split and no protocol is known here."""
