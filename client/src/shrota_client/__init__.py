"""Client of a Shrota speech recognition server: audio in, text out."""
