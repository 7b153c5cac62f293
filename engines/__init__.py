"""Text generation: token ids in, token ids out. Agents and judges both talk to models through here."""
