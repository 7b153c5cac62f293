"""Text generation for agents and judges: engines for loaded models, clients for models behind APIs.

Engines continue token ids: `local` with transformers, `vllm` with vLLM; `types` has their
interface, `registry` their names and options. Chat models behind APIs answer messages: `chat` has
the interface, `models` the options, `remote` the client.
"""
