"""The door for frontends: attach to the engine, submit, wait for a ticket, close."""

from engine.client.engine_client import EngineClient
from engine.client.ticket import Item, ItemAnswer, Ticket
from engine.spec import ModelDescription

__all__ = ["EngineClient", "Item", "ItemAnswer", "ModelDescription", "Ticket"]
