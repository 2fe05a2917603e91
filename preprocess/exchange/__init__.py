"""How rows get from the tasks of one step to those of a later one: through files, or through the engine's shuffle.

A step sees an `Outbox` and an `Inbox` and does not know which way is used. The local runner's own shuffle keeps all
rows in memory, so there they go through files (`files`); an engine that runs on many machines has a shuffle that
spills, recovers and balances, so there it carries them (`engine`).
"""
