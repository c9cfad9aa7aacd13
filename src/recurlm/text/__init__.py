"""From a text to batches of ids: corpora, tokens, vocabulary, store, batching."""
