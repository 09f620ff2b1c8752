"""How two sets of images are scored: by the cosine of their embeddings, or place by place (QAConv and what TAL makes of it)."""
