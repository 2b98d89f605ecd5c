"""What the manuals tell people to type is typed here, at real servers."""
