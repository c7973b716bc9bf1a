"""The proof that a stitched model predicts what its parts predict."""
