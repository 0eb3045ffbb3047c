"""Dead letters: made, kept in a table, given back to the durable that failed."""
