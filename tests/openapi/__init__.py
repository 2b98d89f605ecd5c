"""The OpenAPI document: valid, true to the route table, and kept by the server on both ways in."""
