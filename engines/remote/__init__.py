"""The client of chat models behind APIs: transports, retries, rate limits, costs, stored answers.

`client` is what players, judges and critics use; it goes through the store of answers, the limiter
and the ledger. `estimate` predicts the costs of a run before it starts.
"""
