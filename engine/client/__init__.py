"""The door for frontends: attach to the engine, submit, wait for a ticket, close."""

from engine.client.engine_client import EngineClient
from engine.client.ticket import Ticket
from engine.shm.item import Item
from engine.spec import ModelDescription

__all__ = ["EngineClient", "Item", "ModelDescription", "Ticket"]
