"""N-best lists and lattices of speech recognisers: Kaldi's, Mikolov's and HTK's files, and JSON lines."""
