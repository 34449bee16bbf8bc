//! The admin API on a Unix socket: status, deploy, reload, events; and its client.
