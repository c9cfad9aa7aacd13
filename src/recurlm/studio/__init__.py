"""The page of `recurlm studio`: the runs of a folder in a browser, on top of the server."""
