"""Text generation: token ids in, token ids out. Agents and judges both use models through here."""
