"""Proves that a stack works: a real trace with an image, followed all the way."""
