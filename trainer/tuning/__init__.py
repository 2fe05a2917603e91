"""--task_type=tune: trains models with settings that a search chooses, and says which of them mattered."""
