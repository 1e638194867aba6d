"""How the layers compute: attention, feed-forward networks, sampling."""
