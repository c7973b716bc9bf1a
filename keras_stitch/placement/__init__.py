"""What runs where: in the model, in the dataloader, or beforehand in an environment of its own.

Data flow workflow, dataloader, model only, so a placement is a stage. ``plan`` puts every submodel into the latest
stage that it can be in. What feeds another framework moves into the dataloader, until nothing moves.
``cut_into_stages`` cuts the graph into the packed models and the final model; Keras submodels between which nothing
else runs are one model. ``jobs`` cuts out what runs beforehand; what remains is again a graph.

``environments`` finds the submodels that have to leave. Declared pins are believed. What this environment meets
needs no resolver: it is the proof that all pins go together. Otherwise ``uv`` is asked; ``conflicts`` searches for
minimal conflicts and for a smallest set of submodels that breaks all of them. Nothing here imports Keras.
"""
