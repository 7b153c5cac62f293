"""Examples as rows that share what they share, and the update that learns from them."""
