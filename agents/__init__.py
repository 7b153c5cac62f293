"""Players: everything that can take a seat in an episode and act in it.

They are the policy behind an engine (`policy`), chat models behind an API (`remote`), scripted
experts (`scripted`, and `demonstrator` for learning from them) and a person at the terminal
(`human`). `prompts` and `chat_template` write a seat's side of an episode for a model; `embedded`
is the small model that ships with the package, and `vocabulary` its words.
"""
