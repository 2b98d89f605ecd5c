"""Whole servers while the stores behind them are killed, frozen, slow or refuse: what their callers notice."""
