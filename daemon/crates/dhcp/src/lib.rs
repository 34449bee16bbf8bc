//! DHCPv4 as a netboot server speaks it: bytes in, decisions and bytes out, time passed in.
