"""One folder or file per technology; `opening` finds the one that a URL names."""
