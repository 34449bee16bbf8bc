//! Which slot is this machine? Sightings, evidence and port names in normal form.
