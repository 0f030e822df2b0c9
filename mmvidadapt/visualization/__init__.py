"""The pictures of the papers, drawn of any checkpoint."""
