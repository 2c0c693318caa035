"""Which parameters theory of mind rests on, and what rotary position encoding has to do with it."""
