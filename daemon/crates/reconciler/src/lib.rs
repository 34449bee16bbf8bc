//! The one task that owns the world: drains events, steps, commits, publishes, starts effects.
