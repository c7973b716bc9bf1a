"""What runs where: in the model, in the dataloader, or beforehand in an environment of its own. No Keras."""
