"""The status server: what the supervisor knows, over HTTP, from a thread that touches nothing of the loop's."""
