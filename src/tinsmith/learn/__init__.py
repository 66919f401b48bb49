"""How a model gets better: training text, tokenizer, examples in the agent's own protocol, training, GGUF.

`tinsmith.learn.corpus` collects permissively licensed functions, `tinsmith.tasks` plants bugs in them,
`examples` writes each as the transcript that mends it, `shards` keeps them as arrays, `training` trains
`network`'s decoder on them and `export` writes what llama.cpp runs; `solder` is the whole recipe of the
embedded model, one resumable command, and `comparison` the small runs that chose its sizes. All but the
corpus needs the extra `learn` (torch, tokenizers); no other room imports this one.
"""
