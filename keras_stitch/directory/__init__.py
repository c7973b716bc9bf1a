"""What Graph.save writes: the merged dataloader, the model with its description, examples and a model card."""
