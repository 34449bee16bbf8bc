//! The socket loops: DHCP, HTTP boot, LLDP capture; and where a machine is now.
