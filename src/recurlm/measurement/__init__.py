"""Several models on one text: run folders and ARPA files, compared pair by pair or mixed into one."""
