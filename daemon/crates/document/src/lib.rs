//! YAML with positions, and findings that name file, line, column, rule and fix.
