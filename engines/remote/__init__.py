"""Chat models behind an API: transport, retries, limits, money, and a store of answers."""
