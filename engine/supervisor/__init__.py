"""The parent process of the engine, and its keeper. Nothing here sees a request, a pickle or torch."""
