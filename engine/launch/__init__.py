"""The door for programs that start and stop the engine. Cheap to import: gunicorn's master does, and every frontend."""

from engine.launch.preconditions import check_platform, prepare_runtime_dir, prepare_state_dir
from engine.launch.service_manager import ServiceManager
from engine.launch.sighting import has_socket, is_paused, keeper_pid, master_pids, supervisor_pid, was_killed
from engine.launch.starting import (
    ensure_keeper,
    module_command,
    register_user,
    start_keeper,
    start_supervisor,
    stop_keeper,
)

__all__ = [
    "ServiceManager",
    "check_platform",
    "ensure_keeper",
    "has_socket",
    "is_paused",
    "keeper_pid",
    "master_pids",
    "module_command",
    "prepare_runtime_dir",
    "prepare_state_dir",
    "register_user",
    "start_keeper",
    "start_supervisor",
    "stop_keeper",
    "supervisor_pid",
    "was_killed",
]
