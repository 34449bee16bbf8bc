//! Durable state, shaped like etcd: get, list, transactions with compare, watch. SQLite underneath.
