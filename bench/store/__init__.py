"""What was measured, kept: records and certificates, their schema, and files that are written whole or not at all."""
