"""The Python API: deploy a model, predict, read statistics, shut down; with `await` or without."""

from engine.manager.asynchronous import OptimizedModelServingManager
from engine.manager.shared import get_optimized_serving_manager, get_optimized_serving_manager_sync
from engine.manager.synchronous import SyncModelServingManager

__all__ = [
    "OptimizedModelServingManager",
    "SyncModelServingManager",
    "get_optimized_serving_manager",
    "get_optimized_serving_manager_sync",
]
