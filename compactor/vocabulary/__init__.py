"""A smaller vocabulary for a smaller encoder: embeddings are most of its size, and a domain uses few of them."""
